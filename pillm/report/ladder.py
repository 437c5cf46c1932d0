"""Where quality was lost: the paired difference of every step from teacher to device, and the stage that each one is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Literal, TypeAlias

from pillm.artifacts import Evaluation, SubjectKind
from pillm.records import JSONObject
from pillm.report.findings import Predictions, main_metric, on_main_set, short, whose
from pillm.stages.predictions import Prediction, compare

Stage: TypeAlias = Literal["training", "merge", "export", "quantisation", "device"]
STAGES: tuple[Stage, ...] = ("training", "merge", "export", "quantisation", "device")
"""In the order in which a student goes through them."""
Step: TypeAlias = tuple[Stage, Evaluation, Evaluation]


def ladder(evaluations: Sequence[Evaluation], predictions: Predictions, sizes: Mapping[str, int]) -> list[JSONObject]:
    """Return the paired difference of each step: base and teacher to checkpoint, to the largest file, to the others.

    Where they were scored too, the unmerged adapter stands between teacher and checkpoint, and each file on its device after
    the same file here. Each step says how many answers changed, and names the first row that got worse.
    """
    metric = main_metric(evaluations)
    found = []
    for stage, earlier, later in _steps(on_main_set(evaluations), sizes):
        sides = predictions.get(whose(earlier)), predictions.get(whose(later))
        if sides[0] is None or sides[1] is None or metric is None:
            continue
        difference = compare(sides[0], sides[1]).get(metric)
        if difference is not None:
            changed = _changed(sides[0], sides[1], metric)
            found.append(
                {"set": later.set, "metric": metric, "stage": stage, **_ends(earlier, later), **asdict(difference), **changed}
            )
    return found


def _ends(earlier: Evaluation, later: Evaluation) -> JSONObject:
    return {"from": earlier.subject, "from_kind": earlier.kind, "to": later.subject, "to_kind": later.kind}


def _steps(evaluations: Sequence[Evaluation], sizes: Mapping[str, int]) -> Iterator[Step]:
    by_kind = {one.kind: one for one in evaluations if one.kind not in ("model", "device")}
    files = sorted((one for one in evaluations if one.kind == "model"), key=lambda one: -sizes.get(one.subject, 0))
    trained = by_kind.get("checkpoint") or next(iter(files), None)
    if trained is None:
        return
    yield from _lessons(by_kind, trained)
    first = by_kind.get("checkpoint")
    for number, one in enumerate(files):
        earlier = first if number == 0 else files[0]
        if earlier is not None and earlier is not one:
            yield "export" if number == 0 else "quantisation", earlier, one
    here = {one.subject: one for one in files}
    for one in evaluations:
        if one.kind == "device" and one.subject in here:
            yield "device", here[one.subject], one


def _lessons(by_kind: Mapping[SubjectKind, Evaluation], trained: Evaluation) -> Iterator[Step]:
    """Yield the steps up to the trained student; what the adapter alone scores tells its merging from its training."""
    adapter = by_kind.get("adapter")
    if "base" in by_kind:
        yield "training", by_kind["base"], trained
    if adapter is not None and "teacher" in by_kind:
        yield "training", by_kind["teacher"], adapter
    if adapter is not None and trained.kind == "checkpoint":
        yield "merge", adapter, trained
    if "teacher" in by_kind:
        yield "training", by_kind["teacher"], trained


def _changed(left: Sequence[Prediction], right: Sequence[Prediction], metric: str) -> JSONObject:
    """Return how many rows got another answer, and the first that got a worse one."""
    before = {row.id: row for row in left}
    both = [(before[row.id], row) for row in right if row.id in before]
    worse = [(was, now) for was, now in both if now.scores.get(metric, 0.0) < was.scores.get(metric, 0.0)]
    changed = {"changed": sum(was.shown_answer != now.shown_answer for was, now in both)}
    if not worse:
        return changed
    was, now = worse[0]
    row = {"id": now.id, "prompt": short(now.prompt), "was": short(was.shown_answer), "became": short(now.shown_answer)}
    return {**changed, "first": row}
