"""What a trainer wrote of its training, read as a stranger's words: what is wrong is passed over, what is long is thinned."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from pillm.artifacts import TRAINING_FILE
from pillm.records import JSONObject
from pillm.report.foreignjson import figure, read_foreign

MAX_POINTS = 400
"""Of a curve: more than a screen has room for."""
MAX_REASONS, MAX_REASON = 12, 200
COUNTS = ("steps", "rows", "tokens", "answer_tokens", "parameters", "learnt_parameters")
SOURCES = ("labels", "teacher", "student")
"""Whom a training's distributions came from."""
SPEEDS = ("seconds", "tokens_per_second")
DIVERGENCES = ("divergence", "on_policy_divergence")
"""The parts of a loss that no validation measures: on the rows, and on the student's own answers."""
CROSS_ENTROPY = "cross-entropy"
CUTS = ("layers", "vocabulary", "hidden_size", "head_bytes")
"""What a student may have less of than its base."""


def read_training(checkpoint: Path) -> JSONObject | None:
    """Return what a checkpoint's `training.json` says, as the report holds it; None where it says nothing of use."""
    return accepted(read_foreign(checkpoint / TRAINING_FILE))


def accepted(said: Any) -> JSONObject | None:
    """Return the part of a training's record that makes sense, or None where nothing does."""
    if not isinstance(said, dict):
        return None
    validation = _curve(said.get("validation"), "validation_loss")
    found: JSONObject = {
        **{name: _count(said.get(name)) for name in COUNTS},
        **{name: _above_zero(said.get(name)) for name in SPEEDS},
        "rows_left_out": _reasons(said.get("rows_left_out")),
        **({"distillation": distilled} if (distilled := _distillation(said.get("distillation"))) else {}),
        "stopped_early": said["stopped_early"] if isinstance(said.get("stopped_early"), bool) else None,
        "best": (best := _best(said.get("best"), validation)),
        **_learnt(said.get("log")),
        "validation": _thinned(validation, best),
        **({"start": start} if (start := _start(said.get("start"))) else {}),
        **({"rounded": rounded} if (rounded := _rounded(said.get("quantization_aware"))) else {}),
    }
    return found if any(value not in (None, {}, []) for value in found.values()) else None


def _learnt(log: Any) -> JSONObject:
    """Return the curve of what validations measure too: of a loss that is part divergence, the labels' cross-entropy alone."""
    divergences: JSONObject = {name: points for name in DIVERGENCES if (points := _averaged(_curve(log, name)))}
    labels = _averaged(_curve(log, "cross_entropy"))
    if not labels and not divergences:
        return {"loss": _averaged(_curve(log, "loss"))}
    return {"loss": labels, "loss_is": CROSS_ENTROPY, **divergences}


def _start(value: Any) -> JSONObject | None:
    """Return what the student was cut from: sizes before and after, and whether it began with the base's weights."""
    if not isinstance(value, dict) or value.get("init") not in ("base", "random"):
        return None
    found: JSONObject = {"init": value["init"]}
    for name in CUTS:
        sizes = value[name] if isinstance(value.get(name), dict) else {}
        before, after = _count(sizes.get("before")), _count(sizes.get("after"))
        if before is not None and after is not None:
            found[name] = {"before": before, "after": after}
    return found


def _distillation(value: Any) -> JSONObject | None:
    """Return what a training was distilled from, and at how many of its answer tokens a teacher's distribution was known."""
    if not isinstance(value, dict) or value.get("source") not in SOURCES:
        return None
    counts = {name: _count(value.get(name)) for name in ("positions", "answer_tokens")}
    return {"source": value["source"], **counts, "rows_left_out": _reasons(value.get("rows_left_out"))}


def _above_zero(value: Any) -> float | None:
    found = figure(value)
    return found if found is not None and found >= 0 else None


def _count(value: Any) -> int | None:
    found = _above_zero(value)
    return int(found) if found is not None and found == int(found) else None


def _rounded(said: Any) -> JSONObject | None:
    """Return the quantisation that the last steps' weights were rounded to, and after which step."""
    if not isinstance(said, dict) or (step := _count(said.get("after_step"))) is None:
        return None
    kind = said.get("type")
    return {"type": kind, "after_step": step} if isinstance(kind, str) and re.fullmatch(r"[A-Z0-9_]{1,16}", kind) else None


def _reasons(value: Any) -> dict[str, int]:
    """Return how many rows were left out for which reason, the commonest first."""
    given = value.items() if isinstance(value, dict) else ()
    counts = [(str(name), number) for name, said in given if (number := _count(said))]
    common = sorted(counts, key=lambda pair: -pair[1])[:MAX_REASONS]
    return {name[:MAX_REASON].encode("utf-8", "replace").decode(): number for name, number in common}


def _curve(value: Any, name: str) -> list[JSONObject]:
    """Return the points that have a step and a loss, by step; of two at one step the later one, as after a resume."""
    points: dict[int, JSONObject] = {}
    for entry in value if isinstance(value, list) else ():
        if not isinstance(entry, dict):
            continue
        step, loss, right = _count(entry.get("step")), figure(entry.get(name)), _above_zero(entry.get("validation_accuracy"))
        if step is not None and loss is not None:
            points[step] = {"step": step, "loss": loss, **({"accuracy": right} if right is not None and right <= 1 else {})}
    return [points[step] for step in sorted(points)]


def _best(said: Any, validation: Sequence[JSONObject]) -> JSONObject | None:
    """Return the validation that the trainer calls its best one, else the one of the lowest loss."""
    step = _count(said.get("step")) if isinstance(said, dict) else None
    named = (point for point in validation if point["step"] == step)
    return next(named, None) or min(validation, key=lambda point: float(point["loss"]), default=None)


def _averaged(points: list[JSONObject]) -> list[JSONObject]:
    """Return a curve of at most 400 points: its ends, and between them means of neighbours, as if logged less often."""
    if len(points) <= MAX_POINTS:
        return points
    inner = points[1:-1]
    groups = (inner[begin:end] for begin, end in pairwise(_places(len(inner) + 1, MAX_POINTS - 1)))
    means = ({"step": group[-1]["step"], "loss": sum(point["loss"] for point in group) / len(group)} for group in groups)
    return [points[0], *means, points[-1]]


def _thinned(points: list[JSONObject], best: JSONObject | None) -> list[JSONObject]:
    """Return at most 400 of the points, evenly chosen; the first, the last and the best one are among them."""
    if len(points) <= MAX_POINTS:
        return points
    kept = {points[place]["step"] for place in _places(len(points), MAX_POINTS - 1)} | ({best["step"]} if best else set())
    return [point for point in points if point["step"] in kept]


def _places(count: int, wanted: int) -> list[int]:
    """Return `wanted` places in a list of `count` things, evenly spaced from the first to the last."""
    return [place * (count - 1) // (wanted - 1) for place in range(wanted)]
