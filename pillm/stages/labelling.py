"""Label prompts: ask a teacher, keep every answer, judge it, and account for every row."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

from pillm.answers import AnswerStore
from pillm.artifacts import CONTRACT_FILE
from pillm.backends import Teacher
from pillm.cards.lineage import teacher_record
from pillm.errors import BackendError, DataError, Interrupted, Unavailable
from pillm.files import lock, named, replacing, storage_errors
from pillm.progress import Progress
from pillm.records import JSONObject, Prompt
from pillm.stages.budget import Tariff
from pillm.stages.forecasting import Forecast as Forecast
from pillm.stages.forecasting import Survey
from pillm.stages.labelled import FAILED as FAILED
from pillm.stages.labelled import LABELLED as LABELLED
from pillm.stages.labelled import REJECTED, Ended, counts_of, write_rows_by_state
from pillm.stages.labelled import STORE as STORE
from pillm.stages.labelled import Labelled as Labelled
from pillm.stages.labelled import RowCounts as RowCounts
from pillm.stages.labelled import contract_beside as contract_beside
from pillm.stages.labelled import teacher_beside as teacher_beside
from pillm.stages.labeller import Labeller
from pillm.stages.rowstates import Memory
from pillm.stages.settings import Labelling as Labelling
from pillm.stages.worklist import Worklist, by_prefix
from pillm.stages.worklist import apply_filters as apply_filters
from pillm.store import MANIFEST, Lineage, is_current, read_manifest, refuse_foreign, stage_key, write_manifest

_FILES = (LABELLED, REJECTED, FAILED, STORE, CONTRACT_FILE)


def label(
    prompts: Iterable[Prompt],
    teacher: Teacher,
    out: Path | str,
    *,
    settings: Labelling | None = None,
    progress: Progress | None = None,
) -> Labelled:
    """Answer prompts with a teacher and write `labelled.jsonl`, `answers.sqlite`, `contract.json`, `manifest.json` into `out`.

    Answers that the store holds are not asked again; rows that arrive answered keep their answer. `prompts` is iterated
    over several times, unless it is an iterator; give a `PromptFile` for more rows than memory holds. Raises DataError for
    rows that cannot be asked, Unavailable where the teacher or a cap stops the run, Interrupted on Ctrl-C or SIGTERM.
    """
    out, settings, progress = named(out), settings or Labelling(), progress or Progress("label")
    refuse_foreign(out, "label", trace=STORE)
    rows = Worklist(prompts, teacher, settings)
    key = _key(rows, teacher, settings)
    with lock(out / ".lock"):
        manifest = read_manifest(out)
        if manifest and not settings.retry and _finished(manifest) and is_current(out, key):
            progress.up_to_date()
            return Labelled(out / LABELLED, counts_of(manifest["counts"]), up_to_date=True)
        if "rejected" in settings.retry and not teacher.varies():
            progress.warn(f"teacher {teacher.name!r} at temperature 0 will answer what was rejected as it did before")
        began = time.monotonic()
        (out / MANIFEST).unlink(missing_ok=True)  # from here on the store changes, and no manifest vouches for it
        with storage_errors(out):
            labeller, ended, results = _work(rows, teacher, out, progress)
            with replacing(out / CONTRACT_FILE) as part:  # `train` reads it: what the teacher was told, the student is told
                settings.contract.save(part)
            counts, seconds = ended.counts(rows.size), time.monotonic() - began
            made = Lineage(
                verb="label", key=key, backends=(teacher,), seconds=seconds, counts=counts.to_json(), results=results
            )
            write_manifest(out, made, [path for name in _FILES if (path := out / name).is_file()])
    if not counts.balanced:
        raise BackendError(f"rows do not balance: {counts}. This is a bug; the store {out / STORE} is intact.")
    progress.finish(str(counts))
    _raise_if_stopped(labeller, counts)
    return Labelled(out / LABELLED, counts, transient=ended.transient)


def _work(rows: Worklist, teacher: Teacher, out: Path, progress: Progress) -> tuple[Labeller, Ended, JSONObject]:
    """Ask what is open and write the rows by state; return who asked, where the rows ended and what the manifest tells."""
    settings = rows.settings
    with AnswerStore(out / STORE) as store, stores_of(settings.reuse) as others:
        memory = Memory.of(teacher, settings, store, others)
        labeller = Labeller(teacher, memory, store, progress)
        for other in others:
            if waiting := len(other.open_batches()):
                progress.warn(
                    f"{waiting} batches of {other.path.parent} are not collected; what they hold is bought again here"
                )
        _take_stock(rows, labeller)
        labeller.work(by_prefix(rows))
        if settings.judge and not labeller.stopping:
            from pillm.stages.comparing import let_judge  # it labels: the judge's answers are stored as any

            let_judge(rows, memory, settings.judge, out / "judge", progress)
        ended = write_rows_by_state(out, rows, memory)
        unknown, spent, waiting = len(store.unknown_outcomes()), store.spent(), labeller.waiting_batches()
        if strangers := len(store.open_batches()) - waiting:
            progress.warn(f"{strangers} batches of a teacher with other options wait to be collected: ask it once more")
    _tell(ended, unknown, progress)
    cost = None if spent.cost is None else float(spent.cost)
    results: JSONObject = {
        "teacher": teacher.identity(),
        "origin": teacher_record(teacher),
        "transient": ended.transient,
        "batches": waiting,
    }
    results["spent"] = {"tokens": spent.tokens, "cost": cost}
    return labeller, ended, results | ({"shard": list(settings.shard)} if settings.shard else {})


def forecast(prompts: Iterable[Prompt], teacher: Teacher, out: Path | str, settings: Labelling | None = None) -> Forecast:
    """Return what labelling would cost, without asking or writing anything; raise what `label` would refuse."""
    settings, path = settings or Labelling(), Path(out) / STORE
    refuse_foreign(path.parent, "label", trace=STORE)
    rows = Worklist(prompts, teacher, settings)
    opened = AnswerStore(path, read_only=True) if path.is_file() else nullcontext()
    with opened as store, stores_of(settings.reuse) as others:
        memory = Memory.of(teacher, settings, store, others)
        survey = Survey(memory=memory, teacher=teacher, tariff=Tariff.of(teacher, settings))
        survey.take(rows)
    return survey.forecast


def _key(rows: Worklist, teacher: Teacher, settings: Labelling) -> str:
    return stage_key("label", {"rows": rows.hash, **settings.made_of()}, teacher)


@contextmanager
def stores_of(folders: Sequence[Path]) -> Iterator[tuple[AnswerStore, ...]]:
    """Open the stores of other labelling folders, or of runs, to read; raise DataError where a folder holds none."""
    with ExitStack() as stack:
        found = []
        for folder in folders:
            places = [folder / STORE, folder / "label" / STORE, *folder.glob(f"evaluate/*/{STORE}")]
            paths = [path for path in places if path.is_file()]
            if not paths:
                raise DataError(f"{folder} holds no {STORE}. Name a folder that `pillm label` or `pillm run` made.")
            found += [stack.enter_context(AnswerStore(path, read_only=True)) for path in paths]
        yield tuple(found)


def _take_stock(rows: Worklist, labeller: Labeller) -> None:
    """Look at every row before the first is asked: say what is settled, take over what other folders hold."""
    survey = Survey(memory=labeller.memory, teacher=labeller.teacher, tariff=labeller.budget.tariff)
    if labeller.memory.knows_anything or labeller.memory.settings.limit is not None:
        survey.take(rows, labeller.heard)
    labeller.progress.start(rows.size - survey.states["beyond"])
    if survey.states and (told := survey.settled()):
        labeller.progress.note(told)


def _tell(ended: Ended, unknown: int, progress: Progress) -> None:
    if unknown:
        progress.warn(
            f"{unknown} calls of killed runs or of batches given up were never heard of again; they may have been billed"
        )
    if ended.broken:
        progress.warn(
            f"{ended.broken} rows arrived with an answer that is empty or breaks the row's schema; they count as answered"
        )


def _finished(manifest: JSONObject) -> bool:
    open_ends = ("transient", "batches")
    return not manifest["counts"].get("pending") and not any(manifest["results"].get(name) for name in open_ends)


def _raise_if_stopped(labeller: Labeller, counts: RowCounts) -> None:
    if labeller.interrupted:
        raise Interrupted(f"Interrupted. Stored: {counts}. The same command resumes.")
    if labeller.stopped:
        why = labeller.stopped.message.rstrip(".")
        raise Unavailable(f"the teacher stopped the run: {why}. Stored: {counts}. The same command resumes.")
    if labeller.budget.exhausted:
        raise Unavailable(f"{labeller.budget}. Stored: {counts}. Raise the cap, and the same command resumes.")
