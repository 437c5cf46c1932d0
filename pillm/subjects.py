"""Score every subject of a run on every set: teacher, untrained base, checkpoint and each shipped file, by the same code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from pillm.answers import AnswerStore
from pillm.artifacts import Checkpoint, Evaluation, Figure, ModelFile, SubjectKind, to_json
from pillm.backends import Backend, Metric, Runner, Session, Teacher
from pillm.contract import Contract
from pillm.errors import ConfigError
from pillm.files import lock
from pillm.progress import Progress
from pillm.records import Answer, Example, Failure, JSONObject, Message, Prompt, Request, digest
from pillm.stages.evaluation import Answers, Scope, evaluate
from pillm.stages.labelling import STORE, Labelled, Labelling, label
from pillm.stages.predictions import read_predictions
from pillm.stages.rowstates import LASTING
from pillm.store import Lineage, WorkFolder, is_current, read_manifest, stage_key

SAMPLE = 100
"""Rows on which the unmerged adapter, and files on their device, are scored."""
ANSWERS_FOLDER, JUDGED_FOLDER = "answers", "judged"
"""Where the teacher's answers to the scored rows, and the judges' verdicts on all answers, are stored: beside the subjects,
whose names never equal these."""


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
    backends: tuple[Backend, ...] = ()
    """What answers, for the record."""

    @property
    def folder(self) -> str:
        """Return the name of the subject's folder: names from outside never choose a path."""
        plain = "".join(sign if sign.isalnum() or sign in "-._" else "-" for sign in self.name).strip(".-")[:48]
        there = "device-" if self.kind == "device" else ""
        named = f"{there}{plain or 'model'}-{digest(self.name)[:6]}"
        return named if self.kind in ("model", "device") else self.kind


def model_subject(model: ModelFile, runner: Runner) -> Subject:
    """Return a shipped file as a subject; raise ConfigError where the runner does not read such files."""
    suffix = model.path.suffix.lstrip(".")
    if suffix not in runner.reads:
        raise ConfigError(
            f"runner {runner.name!r} reads {', '.join(sorted(runner.reads))}, not {model.path.name}. Choose another runner."
        )
    identity = {"model": model.sha256, "runner": runner.identity()}
    opener = _opener(runner, model)
    return Subject(name=model.label, kind="model", identity=identity, open=opener, quant=model.quant, backends=(runner,))


def device_subject(model: ModelFile, runner: Runner) -> Subject:
    """Return a shipped file on the device that its runner runs it on, beside the same file here."""
    return replace(model_subject(model, runner), kind="device")


def checkpoint_subject(checkpoint: Checkpoint, runner: Runner, kind: SubjectKind, key: str) -> Subject:
    """Return a checkpoint folder, trained or not, as a subject."""
    identity = {"checkpoint": key, "runner": runner.identity()}
    opener = _opener(runner, checkpoint)
    return Subject(name=checkpoint.label, kind=kind, identity=identity, open=opener, backends=(runner,))


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
    teacher_answers: dict[str, dict[str, str | Message]] = field(default_factory=dict)
    """The teacher's answer, a message, by set and row id: compared with where a row has no reference."""
    row_keys: dict[str, str] = field(default_factory=dict)
    """What is already known of `_rows_key`."""


def a_sample(scoring: Scoring) -> Scoring:
    """Return the same scoring on the first rows of the first set: enough to tell where a loss came from."""
    sets = {name: rows[:SAMPLE] for name, rows in list(scoring.sets.items())[:1]}
    return replace(scoring, sets=sets, row_keys={})


def on_labelled(scoring: Scoring, name: str, rows: Sequence[Prompt], labelled: Iterable[Example]) -> Scoring:
    """Return the same scoring on those of some rows that were labelled, compared with their labels; a set of that name."""
    answers: dict[str, str | Message] = {row.prompt.id: row.answer.message for row in labelled}
    heard = [row for row in rows if row.id in answers]
    told = {name: {row.id: answers[row.id] for row in heard}} if heard else {}
    return replace(scoring, sets={name: heard} if heard else {}, teacher_answers=told, row_keys={})


def ask_teacher(teacher: Teacher, scoring: Scoring, *, retry: frozenset[str] = frozenset()) -> tuple[Subject, Labelled]:
    """Answer the rows of every set with a teacher, greedily, and return it as a subject that answers from its store."""
    greedy = teacher.greedy()
    folder = scoring.folder / ANSWERS_FOLDER
    rows = [replace(prompt, given=None) for prompts in scoring.sets.values() for prompt in prompts]
    progress = scoring.progress.for_stage("evaluate teacher")
    settings = Labelling(contract=scoring.contract, retry=retry)
    answered = label(rows, greedy, folder, settings=settings, progress=progress)
    identity = greedy.identity()
    with StoredAnswers(folder) as stored:
        for name, prompts in scoring.sets.items():
            requests = (scoring.contract.request(prompt, identity) for prompt in prompts)
            answers = ((asked.prompt.id, said) for asked, said in stored.answer(requests) if isinstance(said, Answer))
            scoring.teacher_answers[name] = {row: said.message for row, said in answers}
    opener = partial(StoredAnswers, folder)
    return Subject(name=_teacher_name(teacher), kind="teacher", identity=identity, open=opener, backends=(greedy,)), answered


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
            key = _key(subject, name, scoring)
            with lock(out.with_name(f".{name}.lock")):
                if is_current(out, key) and not _transient(out):
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
        compare_with=scoring.teacher_answers.get(target.set, {}),
        seed=scoring.seed,
        progress=scoring.progress.for_stage(f"evaluate {subject.name}"),
        judged=scoring.folder / JUDGED_FOLDER,
    )
    with WorkFolder(target.out, "evaluate", target.key) as work:
        evaluation = evaluate(rows, answers, scoring.metrics, out=work.path, scope=scope)
        facts = to_json(replace(evaluation, predictions=None))
        failures = [row.failure["kind"] for row in read_predictions(work.path) if row.failure]
        lineage = Lineage(
            verb="evaluate",
            key=target.key,
            backends=(*subject.backends, *scoring.metrics),
            seed=scoring.seed,
            seconds=work.seconds,
            counts={"rows": evaluation.rows, "failed": evaluation.failed},
            results={"evaluation": facts, "transient": sum(kind not in LASTING for kind in failures)},
        )
        work.publish(lineage)
    return _recorded(target.out)


def _transient(out: Path) -> int:
    """Return how many rows failed in a way that asking again may mend; all, where nobody counted them yet."""
    results = (read_manifest(out) or {})["results"]
    return int(results.get("transient", results["evaluation"].get("failed", 0)))


def _key(subject: Subject, name: str, scoring: Scoring) -> str:
    versions = [backend.version() for backend in subject.backends]
    inputs = {"subject": subject.identity, "versions": versions, "rows": _rows_key(name, scoring), "seed": scoring.seed}
    if subject.kind == "teacher":
        said = scoring.teacher_answers.get(name, {})
        inputs["said"] = digest([_said(said.get(prompt.id)) for prompt in scoring.sets[name]])
    return stage_key("evaluate", inputs, *scoring.metrics)


def _rows_key(name: str, scoring: Scoring) -> str:
    """Return a hash of a set's rows, as far as scores depend on them; it is the same for every subject."""
    if name not in scoring.row_keys:
        said = scoring.teacher_answers.get(name, {})
        listing = [
            [
                prompt.id,
                scoring.contract.request(prompt, {}).key,  # covers messages as sent, schema and tools
                prompt.reference.message if prompt.reference else _said(said.get(prompt.id, prompt.teacher_answer)),
                list(prompt.tags),
                prompt.group,
            ]
            for prompt in scoring.sets[name]
        ]
        scoring.row_keys[name] = digest(listing)
    return scoring.row_keys[name]


def _said(message: str | Message | None) -> str | JSONObject | None:
    """Return what a teacher said, for a key."""
    if message is None or isinstance(message, str):
        return message
    content, calls = message.get("content") or "", message.get("tool_calls")
    return {"content": content, "tool_calls": calls} if calls else str(content)


def _recorded(out: Path) -> Evaluation:
    manifest = read_manifest(out) or {}
    facts = dict(manifest["results"]["evaluation"])
    metrics = {name: Figure(**figure) for name, figure in facts.pop("metrics").items()}
    tags = {tag: {name: Figure(**figure) for name, figure in by.items()} for tag, by in facts.pop("tags", {}).items()}
    return Evaluation(**facts, metrics=metrics, tags=tags, predictions=out / "predictions.jsonl")
