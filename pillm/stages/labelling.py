"""Label prompts: ask a teacher, keep every answer, judge it, and account for every row."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from pillm.answers import AnswerStore
from pillm.artifacts import CONTRACT_FILE
from pillm.backends import Filter, Rows, Teacher
from pillm.contract import Contract
from pillm.errors import BackendError, DataError, Interrupted, Unavailable
from pillm.files import lock, named, replacing, storage_errors
from pillm.progress import Progress
from pillm.records import Answer, Example, JSONObject, Prompt, digest
from pillm.rows import example_to_row, given_example, prompt_to_row, write_rows
from pillm.stages.labeller import Labeller
from pillm.stages.rowschemas import check_schemas
from pillm.stages.rowstates import Labelling as Labelling
from pillm.stages.rowstates import Memory, Row, State, refusal_reason
from pillm.store import MANIFEST, Lineage, is_current, read_manifest, refuse_foreign, stage_key, write_manifest

LABELLED, REJECTED, FAILED, STORE = "labelled.jsonl", "rejected.jsonl", "failed.jsonl", "answers.sqlite"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCounts:
    """Where every row ended: in = answered + rejected + failed + pending."""

    in_: int = 0
    answered: int = 0
    rejected: int = 0
    failed: int = 0
    pending: int = 0

    @property
    def balanced(self) -> bool:
        """Say whether every row is accounted for."""
        return self.in_ == self.answered + self.rejected + self.failed + self.pending

    def to_json(self) -> dict[str, int]:
        """Return the counts as plain JSON."""
        return {"in": self.in_} | {name: getattr(self, name) for name in ("answered", "rejected", "failed", "pending")}

    def __str__(self) -> str:
        parts = (f"{getattr(self, name)} {name}" for name in ("answered", "rejected", "failed", "pending"))
        return f"{self.in_} rows = {' + '.join(parts)}"


class Labelled(Rows):
    """The labelled rows on disk, and where every row ended."""

    def __init__(self, path: Path, counts: RowCounts, *, transient: int = 0, up_to_date: bool = False) -> None:
        super().__init__(path, counts.answered)
        self.counts = counts
        self.transient = transient
        """Failed rows that the same command asks again, and may well get answered."""
        self.up_to_date = up_to_date

    @property
    def contract(self) -> Contract | None:
        """Return what the teacher was told, as the student is to be told it."""
        return contract_beside(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What labelling would cost: its rows, what is settled already, what would be asked, tokens where known."""

    rows: int
    given: int
    """Rows that arrive answered."""
    stored: int
    """Answers that are stored and would stand, rejected ones included."""
    failed: int
    """Questions that failed for good, and would be asked again on demand only."""
    to_ask: int
    """Questions that would be asked; rows that make the same request make one."""
    calls: int
    """The most calls that could become of them: more than questions where a rejected answer is asked for again."""
    prompt_tokens: int | None
    """Tokens of all these calls."""
    completion_tokens: int | None


def label(
    prompts: Iterable[Prompt],
    teacher: Teacher,
    out: Path | str,
    *,
    settings: Labelling | None = None,
    progress: Progress | None = None,
) -> Labelled:
    """Answer prompts with a teacher and write `labelled.jsonl`, `answers.sqlite`, `contract.json`, `manifest.json` into `out`.

    Answers that the store holds are not asked again; rows that arrive answered keep their answer. Raises DataError for
    rows that cannot be asked, Unavailable where the teacher stops the run, Interrupted on Ctrl-C or SIGTERM.
    """
    out, settings, progress = named(out), settings or Labelling(), progress or Progress("label")
    refuse_foreign(out, "label", trace=STORE)
    rows = _rows(prompts, teacher, settings)
    key = _key(rows, teacher, settings)
    with lock(out / ".lock"):
        manifest = read_manifest(out)
        if manifest and not settings.retry and _finished(manifest) and is_current(out, key):
            progress.up_to_date()
            return Labelled(out / LABELLED, _counts_of(manifest["counts"]), up_to_date=True)
        if "rejected" in settings.retry and not teacher.varies():
            progress.warn(f"teacher {teacher.name!r} at temperature 0 will answer what was rejected as it did before")
        began = time.monotonic()
        (out / MANIFEST).unlink(missing_ok=True)  # from here on the store changes, and no manifest vouches for it
        with storage_errors(out), AnswerStore(out / STORE) as store:
            labeller = Labeller(teacher, settings, store, progress)
            labeller.work(rows)
            unknown = len(store.unknown_outcomes())
        _tell(rows, unknown, progress)
        with replacing(out / CONTRACT_FILE) as part:  # `train` reads it: what the teacher was told, the student is told
            settings.contract.save(part)
        counts = _publish(out, rows, Lineage(verb="label", key=key, backends=(teacher,), seconds=time.monotonic() - began))
    progress.finish(str(counts))
    if labeller.interrupted:
        raise Interrupted(f"Interrupted. Stored: {counts}. The same command resumes.")
    if labeller.stopped:
        why = labeller.stopped.message
        raise Unavailable(f"the teacher stopped the run: {why} Stored: {counts}. The same command resumes.")
    return Labelled(out / LABELLED, counts, transient=_transient(rows))


def _tell(rows: Sequence[Row], unknown: int, progress: Progress) -> None:
    if unknown:
        progress.warn(f"{unknown} calls of killed runs were never heard of again; they may have been billed")
    broken = sum(
        row.request is None and not row.filtered and bool(refusal_reason(row.prompt, row.answer or Answer(""))) for row in rows
    )
    if broken:
        progress.warn(f"{broken} rows arrived with an answer that is empty or breaks the row's schema; they count as answered")


def _transient(rows: Sequence[Row]) -> int:
    return sum(row.transient for row in rows)


def forecast(prompts: Iterable[Prompt], teacher: Teacher, out: Path | str, settings: Labelling | None = None) -> Forecast:
    """Return what labelling would cost, without asking or writing anything; raise what `label` would refuse."""
    settings, path = settings or Labelling(), Path(out) / STORE
    refuse_foreign(path.parent, "label", trace=STORE)
    rows = _rows(prompts, teacher, settings)
    with AnswerStore(path, read_only=True) if path.is_file() else nullcontext() as store:
        waiting, _ = Memory(settings=settings, teacher=teacher.identity(), store=store).open_rows(rows)
    asked = {row.request.key: row.request for row in waiting if row.request}
    calls = {key: settings.calls_left(request) for key, request in asked.items()}
    usages = [(usage, calls[key]) for key, request in asked.items() if (usage := teacher.estimate(request))]
    known = len(usages) == len(asked)
    return Forecast(
        rows=len(rows),
        given=sum(row.request is None and not row.filtered for row in rows),
        stored=len(_requests(rows, "answered", "rejected")),
        failed=len(_requests(rows, "failed")),
        to_ask=len(asked),
        calls=sum(calls.values()),
        prompt_tokens=sum(usage.prompt_tokens * times for usage, times in usages) if known else None,
        completion_tokens=sum(usage.completion_tokens * times for usage, times in usages) if known else None,
    )


def _requests(rows: Iterable[Row], *states: State) -> set[str]:
    return {row.request.key for row in rows if row.request and row.state in states}


def _finished(manifest: JSONObject) -> bool:
    return not manifest["counts"].get("pending") and not manifest["results"].get("transient")


def _rows(prompts: Iterable[Prompt], teacher: Teacher, settings: Labelling) -> list[Row]:
    """Return the rows as they are to be asked; raise ConfigError or DataError where they cannot be."""
    settings.check(teacher)
    identity = teacher.identity()
    rows: list[Row] = []
    for prompt in prompts:
        kept = apply_filters(prompt, settings.filters)
        if kept is None:
            rows.append(Row(prompt=prompt, request=None, state="rejected", reason="left out by a filter", filtered=True))
        else:
            rows.append(Row(prompt=kept, request=None if kept.given else settings.contract.request(kept, identity)))
    if all(row.filtered for row in rows):
        raise DataError("there are no rows to label. Check the prompts file and the filters.")
    check_schemas(row.prompt for row in rows if not row.filtered)
    return rows


def apply_filters(prompt: Prompt, filters: Sequence[Filter]) -> Prompt | None:
    """Return a prompt as the filters leave it, or None where one leaves it out."""
    kept: Prompt | None = prompt
    for each in filters:
        kept = each.apply(kept) if kept is not None else None
    return kept


def _key(rows: Sequence[Row], teacher: Teacher, settings: Labelling) -> str:
    listing = [
        [row.prompt.id, "filtered"]
        if row.filtered
        else [prompt_to_row(row.prompt), row.prompt.given, row.request.key if row.request else row.prompt.provenance or None]
        for row in rows
    ]
    inputs = {"rows": digest(listing), "attempts": settings.attempts, "limit": settings.limit}
    inputs["contract"] = settings.contract.hash  # rows that all arrive answered carry no request whose key would tell
    return stage_key("label", inputs, teacher)


def _publish(out: Path, rows: Sequence[Row], lineage: Lineage) -> RowCounts:
    counts = count(rows)
    if not counts.balanced:
        raise BackendError(f"rows do not balance: {counts}. This is a bug; the store {out / STORE} is intact.")
    with replacing(out / LABELLED) as part:
        write_rows(part, (_labelled_row(row) for row in rows if row.state == "answered"))
    for name, state in ((REJECTED, "rejected"), (FAILED, "failed")):
        chosen = [_refused_row(row) for row in rows if row.state == state]
        if chosen:
            with replacing(out / name) as part:
                write_rows(part, chosen)
        else:
            (out / name).unlink(missing_ok=True)
    files = [out / name for name in (LABELLED, REJECTED, FAILED, STORE, CONTRACT_FILE) if (out / name).is_file()]
    results = {"transient": _transient(rows)}
    write_manifest(out, replace(lineage, counts=counts.to_json(), results=results), files)
    return counts


def contract_beside(labelled: Path) -> Contract | None:
    """Return the contract that a file of labelled rows was made under, or None where none is recorded; raise DataError."""
    path = labelled.parent / CONTRACT_FILE
    remedy = "Remove it and label again: nothing stored is asked again."
    return Contract.read(path, remedy) if path.is_file() else None


def _labelled_row(row: Row) -> JSONObject:
    if row.request is None:
        return example_to_row(given_example(row.prompt))
    return example_to_row(Example(prompt=row.prompt, answer=row.answer or Answer(""), key=row.request.key))


def _refused_row(row: Row) -> JSONObject:
    # what a filter left out may be what must not be kept: its id is enough
    kept: JSONObject = {"id": row.prompt.id} if row.filtered else prompt_to_row(row.prompt)
    kept["refused"] = {"reason": row.reason, **({"answer": row.answer.content} if row.answer else {})}
    return kept


def count(rows: Iterable[Row]) -> RowCounts:
    """Return where the rows ended."""
    states = [row.state for row in rows]
    return RowCounts(
        in_=len(states),
        answered=states.count("answered"),
        rejected=states.count("rejected"),
        failed=states.count("failed"),
        pending=states.count("pending"),
    )


def _counts_of(value: dict[str, int]) -> RowCounts:
    return RowCounts(in_=value["in"], **{name: number for name, number in value.items() if name != "in"})
