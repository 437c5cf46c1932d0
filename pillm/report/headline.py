"""The sentence that a report begins with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pillm.report.words import percent, score, size, speed


def headline(report: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Return the verdict as pieces of text, each with whether it is a figure to stress."""
    chosen = report["pick"]
    if chosen is None:
        return [(f"{report['recipe']}: ", False), ("nothing was scored", True), (".", False)]
    pieces = [("Distilled into ", False), (size(chosen["bytes"]), True)]
    before = report["sizes"].get("teacher")
    if before:
        pieces.append((f", from {size(before)}", False))
    if chosen["kept"] is not None:
        pieces += [(", with ", False), (percent(chosen["kept"]), True), (" of the teacher’s score kept", False)]
    else:
        pieces += [(", scoring ", False), (score(chosen["score"]), True)]
    fast = pick_speed(report)
    if fast:
        verb = "at about" if fast["basis"] == "predicted" else "at"
        pieces += [
            (f", {verb} ", False),
            (f"{speed(fast['tg_tps'])} tokens per second", True),
            (f" on {fast['device']}", False),
        ]
    return [*pieces, (".", False)]


def headline_text(report: Mapping[str, Any]) -> str:
    """Return the verdict as one sentence."""
    return "".join(piece for piece, _ in headline(report))


def pick_speed(report: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the benchmark of the chosen file that matters most: the recipe's device first, measured before predicted."""
    chosen = report["pick"]
    found = [one for one in report["benchmarks"] if chosen and one["model"] == chosen["model"]]
    order = {"measured": 0, "emulated": 1, "predicted": 2}
    return min(found, key=lambda one: (one["device"] != report["device"], order[one["basis"]]), default=None)


def gates_sentence(report: Mapping[str, Any]) -> tuple[str, bool] | None:
    """Return whether the gates were met, as a sentence and a truth; None without gates."""
    gates = report["gates"]
    if not gates:
        return None
    missed = sum(not gate["met"] for gate in gates)
    if missed:
        return f"{missed} of {len(gates)} gates not met", False
    return f"All {len(gates)} gates met" if len(gates) > 1 else "The gate was met", True
