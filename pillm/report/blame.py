"""To which stage a loss belongs: the steps that lost beyond chance, and what is known to be wrong with what they made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pillm.records import JSONObject
from pillm.report.ladder import STAGES, Stage
from pillm.report.words import certain, signed

_WORDS = {
    "training": "in training",
    "merge": "when the adapter was merged",
    "export": "in the export",
    "quantisation": "in the quantisation",
    "device": "on the device",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing about a file that can be checked without asking it anything."""

    stage: Stage
    what: str
    file: str
    ok: bool
    detail: str = ""
    """What is wrong, where something is."""


def blame(steps: Sequence[Mapping[str, Any]], checks: Sequence[Check] = ()) -> list[JSONObject]:
    """Return the stages that lost quality beyond chance, in the order in which a student goes through them.

    Where an unmerged adapter was scored, training is judged by it: what the merged student lost besides is the merge's.
    """
    taught = [step for step in steps if step["from_kind"] != "base"]
    split = any(step["to_kind"] == "adapter" for step in taught)
    found = []
    for stage in STAGES:
        for step in taught:
            whole = split and step["stage"] == "training" and step["to_kind"] != "adapter"
            if step["stage"] == stage and not whole and certain(step) and step["mean"] < 0:
                found.append({**_short(step), "why": _why(stage, step["to"], checks)})
    return found


def _short(step: Mapping[str, Any]) -> JSONObject:
    names = ("stage", "from", "from_kind", "to", "to_kind", "metric", "mean", "low", "high", "rows", "worse", "first")
    return {name: step[name] for name in names if name in step}


def _why(stage: Stage, file: str, checks: Sequence[Check]) -> str:
    """Return what is known to be wrong with what a stage made; an export that is sound otherwise has other weights."""
    wrong = [check for check in checks if check.stage == stage and check.file == file and not check.ok]
    if wrong:
        return "; ".join(f"{check.what}: {check.detail}" for check in wrong)
    if stage == "export" and any(check.file == file for check in checks):
        return "chat template and tokens are those of the training, so the weights are not the checkpoint's"
    return ""


def blame_sentence(lost: Sequence[Mapping[str, Any]], steps: Sequence[Mapping[str, Any]]) -> str:
    """Return where most was lost in a sentence, and where else; empty where no step was measured."""
    if not steps:
        return ""
    if not lost:
        return "No step lost more than chance does."
    by_loss = sorted(lost, key=lambda one: one["mean"])
    most, others = by_loss[0], by_loss[1:]
    sentence = f"Most was lost {_place(most)}"
    if most.get("why"):
        sentence += f" ({most['why']})"
    if others:
        sentence += "; also " + ", ".join(_place(one) for one in others)
    return sentence + "."


def _place(one: Mapping[str, Any]) -> str:
    return f"{_WORDS[one['stage']]} ({one['to']}: {signed(one['mean'])} {one['metric']})"
