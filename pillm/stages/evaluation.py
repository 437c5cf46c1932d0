"""Score anything that answers, on the same rows, by the same code.

Teacher, untrained base, checkpoint and every exported file go through `evaluate`: greedy, unconstrained, one answer a
row. A row without an answer scores 0; nothing is left out.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeAlias

from pillm.artifacts import Evaluation, Figure, SubjectKind, to_json
from pillm.backends import Backend, Metric, Teacher
from pillm.contract import Contract
from pillm.errors import BackendError, ConfigError, DataError, PluginError, Unavailable
from pillm.judging import ConsultingMetric
from pillm.progress import Progress
from pillm.records import Answer, Failure, JSONObject, Message, Prompt, Reference, Request
from pillm.stages.consulting import scores_of
from pillm.stages.intervals import figure
from pillm.stages.predictions import PREDICTIONS_FILE, Prediction, metric_names, tally, write_predictions

Scores: TypeAlias = Mapping[str, float | None]
"""A metric's score by row id."""


class Answers(Protocol):
    """Anything that answers: a teacher, or the session that a runner opened."""

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        """Pull requests and yield each with its answer or failure, in any order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is scored and how: the subject's name and kind, the set, and what the requests are made with."""

    subject: str = ""
    """A name for tables; by default the backend's name or the class's."""
    kind: SubjectKind | None = None
    """By default "teacher" for a teacher and "model" for a session."""
    set: str = "test"
    quant: str | None = None
    contract: Contract = field(default_factory=Contract)
    identity: JSONObject | None = None
    """What the keys of the requests are made of; by default what the teacher says it is."""
    compare_with: Mapping[str, str | Message] = field(default_factory=dict)
    """The teacher's answer by row id, as text or as an assistant message: the reference of rows that have none.

    Rows that it lacks are compared with the answer that a teacher gave them in an earlier labelling, where they bring one.
    """
    seed: int = 0
    progress: Progress = field(default_factory=lambda: Progress("evaluate"))
    judged: Path | None = None
    """The folder where what judges say is stored; by default `judged` in `out`, and without either nothing is kept."""


def evaluate(
    rows: Iterable[Prompt],
    subject: Answers,
    metrics: Sequence[Metric],
    *,
    out: Path | str | None = None,
    scope: Scope | None = None,
) -> Evaluation:
    """Score a subject's answers to some rows.

    Every metric is scored on every row it applies to; means come with 95 % intervals, per tag too. A failure
    scores 0. An answer cut off by its length limit is scored as it is. `out` is a folder for `predictions.jsonl` and
    `evaluation.json`. Raises DataError for rows without or with repeated ids, Unavailable where asking on is pointless.
    """
    scope = _named(scope or Scope(), subject)
    prompts = [_with_reference(prompt, scope.compare_with) for prompt in rows]
    started = time.monotonic()
    results = _ask(prompts, subject, scope)
    kept = scope.judged or (Path(out) / "judged" if out is not None else None)
    told = _consult(metrics, [(prompt, results[prompt.id]) for prompt in prompts], kept, scope)
    predictions = [_score(prompt, results[prompt.id], metrics, told) for prompt in prompts]
    counts = tally(predictions)
    usages = [one.usage for one in results.values() if isinstance(one, Answer) and one.usage is not None]
    found = Evaluation(
        subject=scope.subject,
        kind=scope.kind or "model",
        set=scope.set,
        rows=len(predictions),
        metrics=_figures(predictions, scope.seed),
        quant=scope.quant,
        tags=_by_tag(predictions, scope.seed),
        compared_with=_whose(predictions),
        predictions=Path(out) / PREDICTIONS_FILE if out is not None else None,
        seconds=round(time.monotonic() - started, 3),
        failed=counts["failed"],
        cut=counts["cut"],
        prompt_tokens=_median(usage.prompt_tokens for usage in usages),
        completion_tokens=_median(usage.completion_tokens for usage in usages),
    )
    if out is not None:
        write_predictions(Path(out), predictions, {**to_json(found), "predictions": PREDICTIONS_FILE})
    means = {name: one.mean for name, one in found.metrics.items()}
    scope.progress.finish(_sentence(found, counts), **means, **{name: float(count) for name, count in counts.items()})
    return found


def _median(counts: Iterable[int]) -> float | None:
    found = list(counts)
    return float(statistics.median(found)) if found else None


def _named(scope: Scope, subject: Answers) -> Scope:
    name = scope.subject or str(getattr(subject, "name", "") or type(subject).__name__)
    identity = scope.identity
    if identity is None:
        identity = subject.identity() if isinstance(subject, Backend) else {"subject": name}
    kind: SubjectKind = scope.kind or ("teacher" if isinstance(subject, Teacher) else "model")
    return replace(scope, subject=name, kind=kind, identity=identity)


def _with_reference(prompt: Prompt, teacher: Mapping[str, str | Message]) -> Prompt:
    said = teacher.get(prompt.id, prompt.teacher_answer)
    if prompt.reference is not None or said is None:
        return prompt
    message = {"role": "assistant", "content": said} if isinstance(said, str) else said
    return replace(prompt, reference=Reference(message=message, origin="teacher"))


def _ask(prompts: Sequence[Prompt], subject: Answers, scope: Scope) -> dict[str, Answer | Failure]:
    """Return each row's answer or failure; what the subject never came back to is a failure."""
    waiting = {prompt.id for prompt in prompts}
    if len(waiting) != len(prompts):
        raise DataError("two rows share an id, so their scores could not be told apart. Ids must be unique.")
    asked = subject.greedy() if isinstance(subject, Teacher) else subject
    # the subject sees the question only: neither the truth nor an answer that came with the row
    blind = (replace(prompt, reference=None, given=None) for prompt in prompts)
    requests = (scope.contract.request(prompt, scope.identity or {}) for prompt in blind)
    results: dict[str, Answer | Failure] = {}
    scope.progress.start(len(prompts), message=f"{scope.subject} on {scope.set}")
    for request, result in asked.answer(requests):
        if request.prompt.id not in waiting:
            raise PluginError(f"{scope.subject} answered {request.prompt.id!r}, which was not asked or was answered before.")
        if isinstance(result, Failure) and result.stop:
            _stop(scope.subject, result)
        waiting.discard(request.prompt.id)
        results[request.prompt.id] = result
        scope.progress.advance()
    nothing = Failure("crashed", f"{scope.subject} gave no answer")
    return {**results, **dict.fromkeys(waiting, nothing)}


def _stop(subject: str, failure: Failure) -> None:
    if failure.kind in ("rate", "quota", "credentials", "network"):
        raise Unavailable(f"{subject}: {failure.message} Nothing was scored; the same command asks again.")
    raise BackendError(f"{subject} cannot answer: {failure.message}")


def _consult(
    metrics: Sequence[Metric], rows: Sequence[tuple[Prompt, Answer | Failure]], folder: Path | None, scope: Scope
) -> dict[str, Scores]:
    """Return what the metrics that ask a teacher score, by metric and row: all their questions are asked together."""
    answered = [(prompt, result) for prompt, result in rows if isinstance(result, Answer)]
    asking = [metric for metric in metrics if isinstance(metric, ConsultingMetric)] if folder else []
    progress = scope.progress.for_stage(f"judge {scope.subject}")
    return {metric.name: scores_of(metric, answered, Path(folder or "") / metric.name, progress=progress) for metric in asking}


def _score(prompt: Prompt, result: Answer | Failure, metrics: Sequence[Metric], told: Mapping[str, Scores]) -> Prediction:
    answer = result if isinstance(result, Answer) else None
    scores: dict[str, float] = {}
    for metric in metrics:
        try:  # an empty answer shows whether the metric applies to a row that got none
            known = told.get(metric.name) if answer else None
            score = known[prompt.id] if known is not None else metric.score(prompt, answer or Answer(""))
        except Exception as error:
            raise PluginError(f"metric {metric.name!r} failed on row {prompt.id!r}: {type(error).__name__}: {error}") from error
        if score is not None:
            if metric.name in scores:
                raise ConfigError(f"metric {metric.name!r} was given twice. Give each metric once.")
            if not math.isfinite(score):
                raise PluginError(f"metric {metric.name!r} gave {score} for row {prompt.id!r}; a score is a finite number.")
            scores[metric.name] = float(score) if answer else 0.0
    reference = prompt.reference
    return Prediction(
        id=prompt.id,
        prompt=prompt.text,
        reference=reference.content if reference else None,
        compared_with=("teacher" if reference.origin == "teacher" else "reference") if reference else None,
        answer=answer.content if answer else None,
        finish_reason=answer.finish_reason if answer else None,
        scores=scores,
        failure={"kind": result.kind, "message": result.message} if isinstance(result, Failure) else None,
        tags=prompt.tags,
        group=prompt.group,
        tool_calls=answer.tool_calls if answer else (),
        reference_tool_calls=reference.tool_calls if reference else (),
    )


def _figures(predictions: Sequence[Prediction], seed: int) -> dict[str, Figure]:
    found = {}
    for name in metric_names(predictions):
        rows = [row for row in predictions if name in row.scores]
        found[name] = figure([row.scores[name] for row in rows], groups=[row.group for row in rows], seed=seed)
    return found


def _by_tag(predictions: Sequence[Prediction], seed: int) -> dict[str, dict[str, Figure]]:
    tagged: dict[str, list[Prediction]] = defaultdict(list)
    for row in predictions:
        for tag in dict.fromkeys(row.tags):
            tagged[tag].append(row)
    return {tag: _figures(tagged[tag], seed) for tag in sorted(tagged)}


def _whose(predictions: Iterable[Prediction]) -> str:
    whose = {row.compared_with for row in predictions if row.compared_with}
    return "reference and teacher" if len(whose) == 2 else next(iter(whose), "reference")


def _sentence(found: Evaluation, counts: Mapping[str, int]) -> str:
    applied = {name: f" (n={one.rows})" if one.rows < found.rows else "" for name, one in found.metrics.items()}
    means = ", ".join(f"{name} {one.mean:.3f}{applied[name]}" for name, one in found.metrics.items())
    notes = "".join(f", {count} {name}" for name, count in counts.items() if count)
    return f"{found.subject} on {found.set}: {found.rows} rows, {means or 'no metric applies'}{notes}"
