"""The teacher gate: score the teacher, the untrained student and the truth on a sample, before a whole file costs anything.

The teacher is asked exactly as labelling would ask it and its answers go into labelling's own store, so that nothing is
bought twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

from pillm.artifacts import Evaluation
from pillm.backends import Metric, Teacher
from pillm.files import named
from pillm.metrics import Exact, SatisfiesSchema
from pillm.progress import Progress
from pillm.records import Answer, Failure, Message, Prompt, Request
from pillm.stages.evaluation import Answers, Scope, evaluate
from pillm.stages.rowstates import Standing
from pillm.stages.sampling import Hearing, drawn
from pillm.stages.settings import Labelling
from pillm.stages.worklist import Worklist
from pillm.subjects import Subject
from pillm.validation import Checks, validate

Verdict: TypeAlias = Literal["go", "teacher fails", "base does it"]
SET = "probe"


class Accepted(Metric):
    """Labelling would accept the answer: not empty, cut, refused or looping, and as the row's schema and tools want it."""

    name: ClassVar[str] = "accepted"
    checks: Checks = Checks()

    def score(self, prompt: Prompt, answer: Answer) -> float | None:
        """Return 1 or 0."""
        return float(validate(prompt, answer, self.checks).accepted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What decides: scores between 0 and 1."""

    teacher: float = 0.5
    """The lower bound of the teacher's 95 % interval must reach this."""
    base: float = 0.8
    """A base below this never "does it already"."""
    margin: float = 0.05
    """A base does it where it is no more than this below the teacher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing:
    """How to probe: how many rows, which student base, what is scored beside exact, accepted and schema, what decides."""

    rows: int = 50
    seed: int = 0
    """Draws the sample: rows with the lowest hashes of seed and id, so that it depends on neither order nor number."""
    student: Subject | None = None
    """The untrained base, as `pillm.subjects.checkpoint_subject` returns it."""
    metrics: tuple[Metric, ...] = ()
    thresholds: Thresholds = field(default_factory=Thresholds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What a probe found: the verdict, a sentence that says what decided, and the scores."""

    verdict: Verdict
    sentence: str
    decided_by: str
    """The metric that decided: "exact" where at least half of the sample has references, else "accepted"."""
    rows: int
    asked: int
    """Rows of the sample that the teacher had to be asked for; the others' answers were stored already."""
    teacher: Evaluation
    base: Evaluation | None = None
    truth: Evaluation | None = None
    """The references, scored as if somebody had answered them."""

    @property
    def evaluations(self) -> list[Evaluation]:
        """Return the scores of all that were scored."""
        return [one for one in (self.teacher, self.base, self.truth) if one is not None]


def probe(
    prompts: Iterable[Prompt],
    teacher: Teacher,
    out: Path | str,
    *,
    probing: Probing | None = None,
    settings: Labelling | None = None,
    progress: Progress | None = None,
) -> Probed:
    """Ask a teacher a sample of what labelling into `out` would ask it, score it and say whether labelling is worth it.

    Answers are stored in `out`, under the keys that labelling uses; no other file of it is written. `settings` are those
    of the labelling; its judge is not asked. Raises DataError where there is nothing to ask, Unavailable where rows of
    the sample got no answer.
    """
    out, probing, progress = named(out), probing or Probing(), progress or Progress("probe")
    settings = replace(settings or Labelling(), judge=None, only=frozenset())
    settings = replace(settings, choose="first") if settings.choose == "judge" else settings
    worklist = Worklist(prompts, teacher, settings)
    rows = drawn(worklist, probing.rows, seed=probing.seed, limit=settings.limit)
    standings, asked = Hearing(teacher=teacher, out=out, settings=settings, progress=progress).hear(rows)
    said = {row.prompt.id: _result(standing) for row, standing in zip(rows, standings, strict=True)}
    scorer = _Scorer(rows=[row.prompt for row in rows], probing=probing, settings=settings, progress=progress)
    scores = scorer.score(Path(str(getattr(teacher, "model", "") or teacher.name)).name, said)
    verdict, sentence = _judged(scores, scorer.decided_by, probing.thresholds)
    return Probed(
        verdict=verdict,
        sentence=sentence,
        decided_by=scorer.decided_by,
        rows=len(rows),
        asked=asked,
        teacher=scores["teacher"],
        base=scores.get("base"),
        truth=scores.get("truth"),
    )


def _result(standing: Standing) -> Answer | Failure:
    return standing.answer or Failure("refused", standing.reason)


class _Said:
    """Answers that are known already, by row id."""

    def __init__(self, results: Mapping[str, Answer | Failure]) -> None:
        self._results = results

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        for request in requests:
            yield request, self._results[request.prompt.id]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scorer:
    """Scores everybody on the sample by the same code."""

    rows: Sequence[Prompt]
    probing: Probing
    settings: Labelling
    progress: Progress

    @property
    def decided_by(self) -> str:
        """Return the metric that decides: agreement with the truth, where it is known of enough rows."""
        return "exact" if 2 * len(self._true()) >= len(self.rows) else "accepted"

    def score(self, teacher: str, said: Mapping[str, Answer | Failure]) -> dict[str, Evaluation]:
        """Return the scores of teacher, base and truth, as far as there are such."""
        scores = {"teacher": self._evaluate(self.rows, _Said(said), Scope(subject=teacher, kind="teacher"))}
        if student := self.probing.student:
            # a valid answer may still be a wrong one: without the truth it is what the teacher says that counts
            compare: dict[str, str | Message] = {
                row: answer.message
                for row, answer in said.items()
                if self.decided_by == "accepted" and isinstance(answer, Answer)
            }
            with student.open() as opened:
                scope = Scope(subject=student.name, kind=student.kind, identity=student.identity, compare_with=compare)
                scores["base"] = self._evaluate(self.rows, opened, scope)
        if true := self._true():
            told = {row.id: Answer(row.reference.content, tool_calls=row.reference.tool_calls) for row in true if row.reference}
            scores["truth"] = self._evaluate(true, _Said(told), Scope(subject="truth"))
        return scores

    def _true(self) -> list[Prompt]:
        return [row for row in self.rows if row.reference is not None]

    def _evaluate(self, rows: Sequence[Prompt], subject: Answers, scope: Scope) -> Evaluation:
        metrics = (Exact(), Accepted(checks=self.settings.checks), SatisfiesSchema(), *self.probing.metrics)
        contract, seed, progress = self.settings.contract, self.probing.seed, self.progress.for_stage(f"probe {scope.subject}")
        return evaluate(rows, subject, metrics, scope=replace(scope, set=SET, contract=contract, seed=seed, progress=progress))


def _judged(scores: Mapping[str, Evaluation], metric: str, limits: Thresholds) -> tuple[Verdict, str]:
    """Return the verdict and the sentence that says what decided."""
    teacher, base = scores["teacher"], scores.get("base")
    figure = teacher.metrics[metric]
    told = f"{teacher.subject} has {_figure(teacher, metric)}"
    note = _faults(scores.get("truth"))
    if figure.low < limits.teacher:
        if figure.mean >= limits.teacher:
            return "teacher fails", f"the teacher fails: {told}, too few or too alike to be sure of {limits.teacher:g}{note}."
        return "teacher fails", f"the teacher fails: {told}, below {limits.teacher:g}{note}."
    if base is None:
        return "go", f"go: {told}, and the lower bound is at least {limits.teacher:g}; no student base was probed{note}."
    compared = f"{told}, the base {base.subject} {_figure(base, metric)}"
    mean, agreeing = base.metrics[metric].mean, base.metrics.get("exact")
    same = f" and says what the teacher says on {agreeing.mean:.0%}" if metric == "accepted" and agreeing else ""
    near = mean >= max(limits.base, figure.mean - limits.margin)
    if near and (metric == "exact" or (agreeing is not None and agreeing.mean >= limits.base)):
        why = f"within {limits.margin:g} of the teacher and at least {limits.base:g}"
        return "base does it", f"the base already does it: {compared}{same}: {why}{note}."
    return "go", f"go: {compared}{same}; the teacher's lower bound is at least {limits.teacher:g}{note}."


def _figure(one: Evaluation, metric: str) -> str:
    figure = one.metrics[metric]
    return f"{metric} {figure.mean:.2f} [{figure.low:.2f}, {figure.high:.2f}] on {figure.rows} rows"


def _faults(truth: Evaluation | None) -> str:
    """Return a warning where references break their own rows' schema: then no teacher can be right."""
    if truth is None:
        return ""
    accepted = truth.metrics["accepted"]
    broken = round((1 - accepted.mean) * accepted.rows)
    return f"; but {broken} of {accepted.rows} references would be refused as answers: mend these rows" if broken else ""
