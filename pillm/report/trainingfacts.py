"""What a training's record says in words: one sentence of its curves, and the figures beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pillm.report.words import count, duration, loss, percent, size, speed

_SOURCES = {
    "labels": "log-probabilities stored with the labels",
    "teacher": "a teacher that scored the rows",
    "student": "a teacher that scored the student's own answers",
}
_DIVERGENCES = {
    "divergence": "Divergence from the teacher",
    "on_policy_divergence": "Divergence on the student's own answers",
}
MAX_POINTS = 10
"""Of the curves as a table."""


def training_sentence(training: Mapping[str, Any]) -> str:
    """Return what the curves show, or an empty text where there are none."""
    what = training.get("loss_is", "loss")
    said = [_training_loss(what, training["loss"]), _validation_loss(what, training["validation"], training["best"])]
    stopped = "Training stopped early." if training["stopped_early"] else ""
    return " ".join(part for part in (*said, stopped) if part)


def _training_loss(what: str, points: Sequence[Mapping[str, Any]]) -> str:
    if not points:
        return ""
    first, last = points[0], points[-1]
    if first is last:
        return f"Training {what} was {loss(first['loss'])} at step {count(first['step'])}."
    verb = "fell" if last["loss"] < first["loss"] else "rose" if last["loss"] > first["loss"] else "went"
    return f"Training {what} {verb} from {loss(first['loss'])} to {loss(last['loss'])} by step {count(last['step'])}."


def _validation_loss(what: str, points: Sequence[Mapping[str, Any]], best: Mapping[str, Any] | None) -> str:
    """Say which validation was the best, and whether later ones were worse."""
    if not points or best is None:
        return ""
    if len(points) == 1:
        return f"Validation {what} was {loss(best['loss'])} at step {count(best['step'])}."
    last = points[-1]
    if best["step"] == last["step"]:
        return f"Validation {what} was best at the end: {loss(best['loss'])}."
    after = f", and {loss(last['loss'])} at the end" if loss(last["loss"]) != loss(best["loss"]) else ""
    return f"Validation {what} was best at step {count(best['step'])}: {loss(best['loss'])}{after}."


def training_facts(training: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the figures of a training that are known, each with its name."""
    seconds, rate = training["seconds"], training["tokens_per_second"]
    told = {
        "Steps": _steps(training),
        "Rounded weights": _rounded(training.get("rounded"), training["steps"]),
        "Best validation": _best(training["best"]),
        "Tokens": _tokens(training["tokens"], training["answer_tokens"]),
        "Throughput": None if rate is None else f"{speed(rate)} tokens/s",
        "Time": None if seconds is None else duration(seconds),
        "Rows": None if training["rows"] is None else f"{count(training['rows'])} trained on",
        "Rows left out": _left_out(training["rows_left_out"]),
        "Started from": _start(training.get("start")),
        "Distilled from": _distilled(training.get("distillation")),
        **{name: _from_to(training.get(part)) for part, name in _DIVERGENCES.items()},
        "Trainable parameters": _share(training["learnt_parameters"], training["parameters"]),
    }
    return [(name, value) for name, value in told.items() if value]


def _steps(training: Mapping[str, Any]) -> str | None:
    if training["steps"] is None:
        return None
    return count(training["steps"]) + (", stopped early" if training["stopped_early"] else "")


def _rounded(said: Mapping[str, Any] | None, steps: int | None) -> str | None:
    if said is None:
        return None
    last = "" if steps is None or steps < said["after_step"] else f" to {count(steps)}"
    return f"{said['type']}, steps {count(said['after_step'] + 1)}{last}"


def _best(best: Mapping[str, Any] | None) -> str | None:
    if best is None:
        return None
    right = f"; {percent(best['accuracy'])} of answer tokens right" if "accuracy" in best else ""
    return f"{loss(best['loss'])} at step {count(best['step'])}{right}"


def _tokens(tokens: int | None, answers: int | None) -> str | None:
    if not tokens:
        return None
    return count(tokens) + ("" if answers is None or answers > tokens else f", {percent(answers / tokens)} of them in answers")


def _left_out(reasons: Mapping[str, int]) -> str:
    return "; ".join(f"{reason} ({count(number)})" for reason, number in reasons.items())


def _start(start: Mapping[str, Any] | None) -> str | None:
    """Say what the student was cut from, where it was."""
    if start is None:
        return None
    made = "random weights" if start["init"] == "random" else "the base's weights"
    named = {"layers": "layers", "vocabulary": "tokens", "hidden_size": "hidden size", "head_bytes": "output head"}
    written = {name: size if name == "head_bytes" else count for name in named}
    changed = {name: start[name] for name in named if name in start and start[name]["before"] != start[name]["after"]}
    said = [f"{named[name]} {written[name](one['before'])} to {written[name](one['after'])}" for name, one in changed.items()]
    return ": ".join(part for part in (made, ", ".join(said)) if part)


def _distilled(said: Mapping[str, Any] | None) -> str | None:
    """Say whose distributions were learnt beside the labels, and for how many answer tokens there was one."""
    if not said:
        return None
    known, of = said["positions"], said["answer_tokens"]
    share = f", at {count(known)} of {count(of)} answer tokens" if known is not None and of else ""
    left = _left_out(said["rows_left_out"])
    alone = f"; from their labels alone: {left}" if left else ""
    return f"{_SOURCES[said['source']]}{share}{alone}"


def _from_to(points: Sequence[Mapping[str, Any]] | None) -> str | None:
    """Say where a curve begins and ends."""
    if not points:
        return None
    told = [f"{loss(point['loss'])} at step {count(point['step'])}" for point in points]
    return " to ".join(dict.fromkeys((told[0], told[-1])))


def _share(learnt: int | None, whole: int | None) -> str | None:
    if learnt is None or not whole or learnt > whole:
        return None
    return f"all {count(whole)}" if learnt == whole else f"{percent(learnt / whole)}, {count(learnt)} of {count(whole)}"


def training_table(training: Mapping[str, Any]) -> list[tuple[int, float | None, float | None]]:
    """Return up to ten steps with their training and validation loss: those of validations where there are any."""
    trained = {point["step"]: point["loss"] for point in training["loss"]}
    validated = {point["step"]: point["loss"] for point in training["validation"]}
    steps = sorted(validated or trained)
    shown = {steps[place * (len(steps) - 1) // (MAX_POINTS - 1)] for place in range(MAX_POINTS)} if steps else set()
    shown |= {training["best"]["step"]} if training["best"] else set()
    return [(step, _at(step, trained), validated.get(step)) for step in sorted(shown)]


def _at(step: int, losses: Mapping[int, float]) -> float | None:
    """Return the loss that was logged at a step, or last before it."""
    return losses.get(max((known for known in losses if known <= step), default=-1))
