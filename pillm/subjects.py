"""Score every subject of a run on every set: teacher, untrained base, checkpoint and each shipped file, by the same code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from pillm.answers import AnswerStore
from pillm.artifacts import Checkpoint, Evaluation, Figure, ModelFile, SubjectKind, to_json
from pillm.backends import Metric, Runner, Session, Teacher
from pillm.contract import Contract
from pillm.errors import ConfigError
from pillm.files import lock
from pillm.progress import Progress
from pillm.records import Answer, Failure, JSONObject, Prompt, Request, digest
from pillm.stages.evaluation import Answers, Scope, evaluate
from pillm.stages.labelling import STORE, Labelling, RowCounts, label
from pillm.store import Lineage, WorkFolder, is_current, read_manifest, stage_key

TEACHER_FOLDER = "teacher"


class StoredAnswers:
    """The answers of a labelling folder, given again: nothing is asked twice."""

    def __init__(self, folder: Path) -> None:
        self._store = AnswerStore(folder / STORE, read_only=True)

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        """Yield each request with its stored answer; what is not stored is a failure."""
        for request in requests:
            found = self._store.answer(request.key) or self._store.failure(request.key)
            yield request, found or Failure("refused", "the teacher was never heard on this row")

    def __enter__(self) -> StoredAnswers:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Something to be scored: its name and kind, what its answers depend on, and how to open it."""

    name: str
    kind: SubjectKind
    identity: JSONObject
    open: Callable[[], AbstractContextManager[Answers]]
    quant: str | None = None

    @property
    def folder(self) -> str:
        """Return the name of the subject's folder: names from outside never choose a path."""
        plain = "".join(sign if sign.isalnum() or sign in "-._" else "-" for sign in self.name).strip(".-")[:48]
        return f"{plain or 'model'}-{digest(self.name)[:6]}" if self.kind == "model" else self.kind


def model_subject(model: ModelFile, runner: Runner) -> Subject:
    """Return a shipped file as a subject; raise ConfigError where the runner does not read such files."""
    suffix = model.path.suffix.lstrip(".")
    if suffix not in runner.reads:
        raise ConfigError(
            f"runner {runner.name!r} reads {', '.join(sorted(runner.reads))}, not {model.path.name}. Choose another runner."
        )
    identity = {"model": model.sha256, "runner": runner.identity()}
    return Subject(name=model.label, kind="model", identity=identity, open=_opener(runner, model), quant=model.quant)


def checkpoint_subject(checkpoint: Checkpoint, runner: Runner, kind: SubjectKind, key: str) -> Subject:
    """Return a checkpoint folder, trained or not, as a subject."""
    identity = {"checkpoint": key, "runner": runner.identity()}
    return Subject(name=checkpoint.label, kind=kind, identity=identity, open=_opener(runner, checkpoint))


def _opener(runner: Runner, model: ModelFile | Checkpoint) -> Callable[[], Session]:
    return lambda: runner.open(model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """What subjects are scored with: the rows of each set, metrics, contract, seed, and where results are kept."""

    folder: Path
    sets: Mapping[str, Sequence[Prompt]]
    metrics: Sequence[Metric]
    contract: Contract
    seed: int
    progress: Progress
    teacher_answers: dict[str, str] = field(default_factory=dict)
    """The teacher's answer by row id, compared with where a row has no reference."""


def ask_teacher(teacher: Teacher, scoring: Scoring) -> tuple[Subject, RowCounts]:
    """Answer the rows of every set with a teacher, greedily, and return it as a subject that answers from its store."""
    greedy = teacher.greedy()
    folder = scoring.folder / TEACHER_FOLDER / "answers"
    unique = {prompt.id: replace(prompt, given=None) for rows in scoring.sets.values() for prompt in rows}
    settings = Labelling(contract=scoring.contract)
    progress = scoring.progress.for_stage("evaluate teacher")
    answered = label(unique.values(), greedy, folder, settings=settings, progress=progress)
    identity = greedy.identity()
    subject = Subject(name=_teacher_name(teacher), kind="teacher", identity=identity, open=lambda: StoredAnswers(folder))
    with StoredAnswers(folder) as stored:
        requests = (scoring.contract.request(prompt, identity) for prompt in unique.values())
        for request, result in stored.answer(requests):
            if isinstance(result, Answer):
                scoring.teacher_answers[request.prompt.id] = result.content
    return subject, answered.counts


def _teacher_name(teacher: Teacher) -> str:
    """Return the name people know a teacher by: its model's, where it has one."""
    return Path(str(getattr(teacher, "model", "") or teacher.name)).name


def score(subject: Subject, scoring: Scoring) -> list[Evaluation]:
    """Score a subject on every set; a set whose result stands already is not asked again, nor the subject opened for it."""
    found = []
    progress = scoring.progress.for_stage(f"evaluate {subject.name}")
    with ExitStack() as stack:
        opened: list[Answers] = []
        for name, rows in scoring.sets.items():
            out = scoring.folder / subject.folder / name
            key = _key(subject, rows, scoring)
            with lock(out.with_name(f".{name}.lock")):
                if is_current(out, key):
                    progress.up_to_date(f"{name}: up to date")
                    found.append(_recorded(out))
                    continue
                if not opened:
                    opened.append(stack.enter_context(subject.open()))
                found.append(_evaluate(subject, opened[0], rows, _Target(out=out, key=key, set=name), scoring))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    out: Path
    key: str
    set: str


def _evaluate(subject: Subject, answers: Answers, rows: Sequence[Prompt], target: _Target, scoring: Scoring) -> Evaluation:
    scope = Scope(
        subject=subject.name,
        kind=subject.kind,
        set=target.set,
        quant=subject.quant,
        contract=scoring.contract,
        identity=subject.identity,
        compare_with=scoring.teacher_answers,
        seed=scoring.seed,
        progress=scoring.progress.for_stage(f"evaluate {subject.name}"),
    )
    with WorkFolder(target.out, target.key) as work:
        evaluation = evaluate(rows, answers, scoring.metrics, out=work.path, scope=scope)
        facts = to_json(replace(evaluation, predictions=None))
        lineage = Lineage(
            verb="evaluate",
            key=target.key,
            backends=tuple(scoring.metrics),
            seed=scoring.seed,
            seconds=work.seconds,
            counts={"rows": evaluation.rows, "failed": evaluation.failed},
            results={"evaluation": facts},
        )
        work.publish(lineage)
    return _recorded(target.out)


def _key(subject: Subject, rows: Sequence[Prompt], scoring: Scoring) -> str:
    said = scoring.teacher_answers
    listing = [
        [
            prompt.id,
            scoring.contract.request(prompt, subject.identity).key,  # covers messages as sent, schema and tools
            prompt.reference.message if prompt.reference else said.get(prompt.id),
            list(prompt.tags),
            prompt.group,
        ]
        for prompt in rows
    ]
    return stage_key("evaluate", {"subject": subject.identity, "rows": digest(listing), "seed": scoring.seed}, *scoring.metrics)


def _recorded(out: Path) -> Evaluation:
    manifest = read_manifest(out) or {}
    facts = dict(manifest["results"]["evaluation"])
    metrics = {name: Figure(**figure) for name, figure in facts.pop("metrics").items()}
    tags = {tag: {name: Figure(**figure) for name, figure in by.items()} for tag, by in facts.pop("tags", {}).items()}
    return Evaluation(**facts, metrics=metrics, tags=tags, predictions=out / "predictions.jsonl")
