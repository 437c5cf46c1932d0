"""Before a training that distils begins: where the teacher's distributions come from, counted and refused where it must be."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import pillm
from pillm_hf.distilling.alignment import Alignment, cache_labels
from pillm_hf.models.hub import locate
from pillm_hf.models.loading import load_config
from pillm_hf.rows.chat import Chat
from pillm_hf.rows.text import Encoded

if TYPE_CHECKING:
    import torch

    from pillm_hf.distilling.scoring import Scorer, Sizes
    from pillm_hf.distilling.targetcache import TargetCache
    from pillm_hf.distilling.targets import Vocabulary
    from pillm_hf.distilling.teaching import Teaching
    from pillm_hf.options.distillation import Distillation
    from pillm_hf.options.finetuning import FineTuning

FOLDER = ".targets"
_CACHE, _SAID = "targets.bin", "targets.json"


@dataclass(frozen=True, slots=True)
class Course:
    """Who is taught what: the trainer's options and data, the student's chat, its encoded training rows, and the seed."""

    options: FineTuning
    data: pillm.TrainingData
    chat: Chat
    rows: list[Encoded]
    seed: int

    @property
    def distill(self) -> Distillation:
        """Return what is distilled; only for a training that distils."""
        return cast("Distillation", self.options.distill)

    @property
    def device(self) -> str | None:
        """Return where the teacher is put: where the student is."""
        return self.options.device_map


@dataclass(slots=True)
class Taught:
    """What teaches, or nothing, and what the training's record says of it; a context that holds a teacher in memory."""

    teaching: Teaching | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()


def make_ahead(course: Course, folder: Path, dtype: torch.dtype, out: Path) -> None:
    """Write targets that are known beforehand below `out`, for `prepare` to find; nothing where the options keep none.

    `folder` is the student's, of which its configuration alone is read: a teacher needs room for itself, not beside the
    student. Raises like `prepare`.
    """
    import torch

    if course.options.distill is None or not course.distill.ahead:
        return
    from pillm_hf.distilling.scoring import Sizes

    sizes = Sizes(load_config(folder).get_text_config().vocab_size, len(course.chat.tokenizer))
    with torch.random.fork_rng():
        _targets(course, sizes, dtype, out)


def prepare(course: Course, model: Any, dtype: torch.dtype, out: Path, progress: pillm.Progress) -> Taught:
    """Return what teaches a student beside its labels; nothing where the options do not distil.

    Targets that are known beforehand are written below `out`, and found there again by a training that goes on. Raises
    DataError where fewer than half of the rows have a teacher's distribution, or the tokenizers differ, and ConfigError
    where there is no teacher.
    """
    import torch

    if course.options.distill is None:
        return Taught()
    from pillm_hf.distilling.scoring import Sizes

    sizes = Sizes(len(model.get_output_embeddings().weight), len(course.chat.tokenizer))
    with torch.random.fork_rng():  # what is drawn here must not depend on whether it was here already
        made = _ahead(course, model, sizes, dtype, out) if course.distill.ahead else _live(course, model, sizes, dtype)
    said = made.facts["distillation"]
    progress.note(
        f"distilling from {said['source']}: {said['positions']} of {said['answer_tokens']} answer tokens have a teacher's "
        "distribution"
    )
    for reason, count in said.get("rows_left_out", {}).items():
        progress.warn(f"{count} rows are learnt from their labels alone: {reason}.")
    return made


def remove(out: Path) -> None:
    """Remove the targets below a folder: the training has ended."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)


def _facts(course: Course, identity: str | None, **more: Any) -> dict[str, Any]:
    said = {"source": course.distill.source, **({"teacher": identity} if identity else {})}
    return {"distillation": {**said, "answer_tokens": sum(row.end - row.start for row in course.rows), **more}}


def _live(course: Course, model: Any, sizes: Sizes, dtype: torch.dtype) -> Taught:
    """Return a teacher in memory; for the student's own answers too."""
    from pillm_hf.distilling.ownwords import OwnWords
    from pillm_hf.distilling.scoring import load_scorer
    from pillm_hf.distilling.teaching import FromModel, OnPolicy

    distill, chat = course.distill, course.chat
    source = distill.model_of(course.data.teacher)
    scorer = load_scorer(source, (chat, course.rows[0]), (dtype, course.device), sizes)
    found = Taught(stack=ExitStack())
    found.stack.enter_context(scorer)
    found.facts = _facts(course, locate(*source).identity, positions=sum(row.end - row.start for row in course.rows))
    given = (distill, model.device, (scorer, sizes))
    if distill.source == "teacher":
        found.teaching = FromModel(*given)
    else:
        words = OwnWords(
            seed=course.seed,
            temperature=distill.sampling_temperature,
            max_new_tokens=distill.max_new_tokens,
            max_length=course.options.max_length,
            stop_ids=chat.stop_ids,
            pad_id=chat.pad_id,
        )
        found.teaching = OnPolicy(*given, words)
    return found


def _ahead(course: Course, model: Any, sizes: Sizes, dtype: torch.dtype, out: Path) -> Taught:
    """Return targets that are known before the training starts; they are made where `out` does not hold them yet."""
    from pillm_hf.distilling.teaching import FromTargets

    cache, facts = _targets(course, sizes, dtype, out)
    return Taught(FromTargets(course.distill, model.device, cache), facts)


def _targets(course: Course, sizes: Sizes, dtype: torch.dtype, out: Path) -> tuple[TargetCache, dict[str, Any]]:
    """Return the targets below `out`, made where they do not stand yet, and what the training's record says of them."""
    source = course.distill.model_of(course.data.teacher) if course.distill.needs_model else None
    identity = locate(*source).identity if source else None
    vocabulary, make = _maker(course, source, sizes, dtype)
    cache, said = _made_once(out / FOLDER, _fingerprint(course, identity), vocabulary, make)
    return cache, _facts(course, identity, **said, k=cache.layout.k, bytes_per_token=round(cache.bytes_per_token, 1))


def _maker(
    course: Course, source: tuple[str, str | None] | None, sizes: Sizes, dtype: torch.dtype
) -> tuple[Vocabulary, Callable[[Path], Alignment]]:
    """Return what the ids of targets mean, and what writes them into a file."""
    from pillm_hf.distilling.ranking import RANKS, K, cache_ranks
    from pillm_hf.distilling.targets import Vocabulary

    distill, tokenizer = course.distill, course.chat.tokenizer_hash
    vocabulary = Vocabulary(tokenizer, sizes.columns)
    if source is None:
        return vocabulary, lambda path: cache_labels(stored_of(course.data), course.rows, path, vocabulary, k=distill.k)
    if not distill.cross_tokenizer:
        return vocabulary, lambda path: _score(course, source, path, (vocabulary, sizes), dtype)
    ranks = Vocabulary(f"{RANKS}{tokenizer}", min(distill.k or K, sizes.columns))
    return ranks, lambda path: cache_ranks(course, source, path, ranks, dtype)


def stored_of(data: pillm.TrainingData) -> Any:
    """Return what labelling stored; raise DataError where nothing did."""
    if data.stored is None:
        raise pillm.DataError(
            "distill learns from log-probabilities that labelling stored, and the rows come without them. Train on the folder "
            "that `pillm label` wrote with the teacher's logprobs=16 or more, or set distill.source=teacher."
        )
    return data.stored


def _made_once(
    folder: Path, fingerprint: str, vocabulary: Vocabulary, make: Callable[[Path], Alignment]
) -> tuple[TargetCache, dict[str, Any]]:
    """Return a cache and what is said of it, as they stand in a folder; made where they do not, or are damaged."""
    from pillm_hf.distilling.targetcache import TargetCache

    path, beside = folder / _CACHE, folder / _SAID
    try:
        said = json.loads(beside.read_text("utf-8"))
        if said["fingerprint"] == fingerprint and said["sha256"] == pillm.sha256_file(path):
            return TargetCache(path, vocabulary), _told(said)
    except (OSError, ValueError, KeyError, TypeError, pillm.DataError):
        pass  # there is none yet, or a kill or a disk left half of one
    shutil.rmtree(folder, ignore_errors=True)
    found = make(path)
    said = {
        "fingerprint": fingerprint,
        "sha256": pillm.sha256_file(path),
        "rows": found.rows,
        "positions": found.positions,
        "rows_left_out": dict(found.left_out),
    }
    beside.write_text(json.dumps(said), "utf-8")
    return TargetCache(path, vocabulary), _told(said)


def _told(said: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name != "fingerprint"}


def _fingerprint(course: Course, identity: str | None) -> str:
    """Return a hash of what targets are made of; what labelling stored is named by the folder that they lie in."""
    said = hashlib.sha256(json.dumps([course.distill.identity(), identity, course.seed], sort_keys=True).encode())
    for row in course.rows:
        said.update(json.dumps([row.id, row.ids, row.start, row.end]).encode())
    return said.hexdigest()


def _score(
    course: Course, source: tuple[str, str | None], path: Path, known: tuple[Vocabulary, Sizes], dtype: torch.dtype
) -> Alignment:
    """Write what a teacher says of all rows as a cache; the teacher is given up again before the training starts."""
    from pillm_hf.distilling.scoring import load_scorer

    with load_scorer(source, (course.chat, course.rows[0]), (dtype, course.device), known[1]) as scorer:
        return score_rows(scorer, course, path, known)


def score_rows(scorer: Scorer, course: Course, path: Path, known: tuple[Vocabulary, Sizes]) -> Alignment:
    """Write a teacher's distributions at the learnt places of all rows as a cache of targets."""
    import torch

    from pillm_hf.distilling.scoring import targets_of
    from pillm_hf.distilling.targetcache import TargetWriter

    (vocabulary, sizes), distill, found = known, course.distill, Alignment()
    generator = torch.Generator().manual_seed(course.seed)
    keep = min(distill.k or 0, sizes.tokens), distill.draws
    ordered = sorted(course.rows, key=lambda row: len(row.ids))
    size = course.options.per_device_train_batch_size
    with TargetWriter(path, vocabulary, k=keep[0], draws=keep[1]) as writer:
        for begin in range(0, len(ordered), size):
            rows = ordered[begin : begin + size]
            counts = [row.end - row.start for row in rows]
            made = targets_of(scorer.score([scorer.seen(row) for row in rows]), sum(counts), sizes, keep, generator)
            at = 0
            for row, count in zip(rows, counts, strict=True):
                writer.add(row.id, row.ids[row.start : row.end], made.part(at, at + count))
                at += count
            found.rows += len(rows)
            found.positions += sum(counts)
    return found
