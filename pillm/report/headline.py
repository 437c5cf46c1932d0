"""The sentence that a report begins with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pillm.gates import speed_rank
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
            (f" on {fast['device']}{_reserve(fast)}", False),
        ]
    return [*pieces, (".", False)]


def _reserve(fast: Mapping[str, Any]) -> str:
    """Return what a speed is where it is no sound measurement."""
    if is_void(fast):
        return " (a disturbed measurement)"
    return f" ({basis(fast)})" if fast["basis"] == "predicted" else ""


def headline_text(report: Mapping[str, Any]) -> str:
    """Return the verdict as one sentence."""
    return "".join(piece for piece, _ in headline(report))


def is_pick(report: Mapping[str, Any], one: Mapping[str, Any]) -> bool:
    """Return whether an evaluation is of the chosen file; a teacher or a checkpoint may have its name."""
    return bool(one["kind"] == "model" and one["subject"] == (report["pick"] or {}).get("model"))


def pick_speed(report: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the benchmark of the chosen file that its gates are checked against, or None where no speed counts."""
    chosen = report["pick"]
    found = [
        (rank, one)
        for one in report["benchmarks"]
        if chosen
        and one["model"] == chosen["model"]
        and (rank := speed_rank(one["device"], one["basis"], report["device"])) is not None
    ]
    return min(found, key=lambda pair: pair[0])[1] if found else None


MARKS = {True: "✓", False: "✗", None: "?"}
"""Before what was met, was not met, was not judged."""


def is_void(benchmark: Mapping[str, Any]) -> bool:
    """Return whether a measurement was disturbed; predictions and reports of before do not say it."""
    return bool(benchmark.get("void"))


def basis(benchmark: Mapping[str, Any]) -> str:
    """Return how a speed is known: measured, measured on a machine that was disturbed, emulated, predicted or extrapolated."""
    far = ", extrapolated" if benchmark.get("details", {}).get("extrapolated") else ""
    return f"{benchmark['basis']}, void" if is_void(benchmark) else f"{benchmark['basis']}{far}"


def void_lines(report: Mapping[str, Any]) -> list[str]:
    """Return for each measurement that does not count what disturbed it."""
    return [
        f"{one['model']} on {one['device']}: void, no gate is judged by it: {'; '.join(one['void'])}"
        for one in report.get("benchmarks", ())
        if is_void(one)
    ]


def gates_sentence(report: Mapping[str, Any]) -> tuple[str, bool | None] | None:
    """Return whether the gates were met, as a sentence and a truth (None: not judged); None without gates."""
    gates = report["gates"]
    if not gates:
        return None
    missed, void = ([gate["met"] for gate in gates].count(fate) for fate in (False, None))
    more = f", {void} not judged" if void else ""
    if missed:
        return f"{missed} of {len(gates)} gates not met{more}", False
    if void:
        return f"{void} of {len(gates)} gates not judged: the machine was disturbed", None
    return f"All {len(gates)} gates met" if len(gates) > 1 else "The gate was met", True
