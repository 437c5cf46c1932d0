"""Targets of a teacher with another tokenizer: its best log-probabilities, in order, where a span of both texts begins.

They lie in a cache of the same form as other targets. Its ids are ranks and mean nothing; a place inside a span, where the two
do not stand before the same choice, holds a rest of 1, which no teacher's distribution is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pillm
from pillm_hf.distilling.alignment import Alignment, by_id, unaligned
from pillm_hf.distilling.scoring import Scorer, load_scorer, pieces
from pillm_hf.distilling.targetcache import TargetWriter
from pillm_hf.distilling.targets import Targets, Vocabulary
from pillm_hf.distilling.uld import Offsets, Span, aligned_spans
from pillm_hf.models.hub import locate
from pillm_hf.rows.chat import Chat
from pillm_hf.rows.opening import load_chat
from pillm_hf.rows.text import Encoded

if TYPE_CHECKING:
    import torch

    from pillm_hf.distilling.preparing import Course

RANKS = "ranks for "
"""What the tokenizer's hash begins with in the header of such a cache."""
K = 32
"""Ranks that are kept where nothing else is asked for."""


@dataclass(frozen=True, slots=True)
class Said:
    """An answer as a teacher wrote it: its text, where its tokens stand in it, and the best log-probabilities at each."""

    text: str
    offsets: Offsets
    places: Sequence[Sequence[float]]


def cache_ranks(
    course: Course, source: tuple[str, str | None], path: Path, vocabulary: Vocabulary, dtype: torch.dtype
) -> Alignment:
    """Write a teacher's best log-probabilities at the beginnings of spans as a cache of targets.

    They come from what labelling stored, or a teacher scores the rows. Raises DataError where fewer than half of the rows
    can be aligned.
    """
    from pillm_hf.distilling.preparing import stored_of

    found = Alignment()
    if course.distill.source == "labels":
        told = _labelled(stored_of(course.data), course.rows, load_chat(locate(*source).fetch()), found)
        _write(told, course, path, vocabulary, found)
    else:
        with load_scorer(source, (course.chat, course.rows[0]), (dtype, course.device)) as scorer:
            _write(_scored(scorer, course, vocabulary.size), course, path, vocabulary, found)
    if found.rows * 2 < found.rows + found.left_out.total():
        raise unaligned(found)
    return found


def _write(told: Iterator[tuple[Encoded, Said]], course: Course, path: Path, of: Vocabulary, found: Alignment) -> None:
    """Write each row's targets: the teacher's log-probabilities stand where the student begins a span."""
    with TargetWriter(path, of, k=of.size) as writer:
        for row, said in told:
            spans = _spans(course.chat, row, said)
            if not spans:
                found.left_out["the teacher's answer is another text than the student's"] += 1
                continue
            writer.add(row.id, row.ids[row.start : row.end], _targets(row.end - row.start, spans, said.places, of.size))
            found.rows += 1
            found.positions += len(spans)


def _spans(chat: Chat, row: Encoded, said: Said) -> list[Span]:
    """Return the spans that both wrote; none where the texts differ. Where a teacher's end was not stored, ours has no span."""
    text, mine = _answer(chat, row)
    if text != said.text or not said.offsets:
        return []
    whole = said.offsets[-1][1] > len(text)
    try:
        return aligned_spans(mine if whole else mine[:-1], said.offsets)
    except pillm.DataError:
        return []


def _targets(count: int, spans: Sequence[Span], places: Sequence[Sequence[float]], k: int) -> Targets:
    import torch

    from pillm_hf.losses.divergences import with_rest

    floor = math.log(torch.finfo(torch.float32).tiny)
    values = torch.full((count, k + 1), floor)
    values[:, -1] = 0.0
    for span in spans:
        best = sorted(places[span.teacher.start], reverse=True)[:k]
        known = with_rest(torch.tensor([best]))[0]
        values[span.student.start, : len(best)] = known[:-1]
        values[span.student.start, -1] = known[-1]
    none = torch.zeros((count, 0), dtype=torch.int64)
    return Targets(torch.arange(k).repeat(count, 1), values, none, none)


def _labelled(
    examples: Iterable[pillm.Example], rows: Sequence[Encoded], teacher: Chat, found: Alignment
) -> Iterator[tuple[Encoded, Said]]:
    """Yield the rows whose answer was stored with log-probabilities, with what was stored."""
    known = by_id(rows)
    for example in examples:
        answer, mine = example.answer, known.get(example.prompt.id, [])
        if not mine:
            found.left_out["the row is not trained on"] += 1
        elif not (answer.token_ids and answer.logprobs):
            found.left_out["the answer is stored without token ids or log-probabilities"] += 1
        elif (offsets := _offsets(teacher, answer.content, answer.token_ids)) is None:
            found.left_out["the stored token ids are not those of the named teacher's tokenizer"] += 1
        else:
            places = [[value for _, value in place if not math.isnan(value)] for place in answer.logprobs]
            yield mine[0], Said(answer.content, offsets, places)


def _offsets(chat: Chat, text: str, ids: Sequence[int]) -> Offsets | None:
    """Return where tokens of an answer's text and its end stand, or None where they are not a tokenizer's own for the text."""
    made = chat.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    own = list(made["input_ids"])
    if list(ids[: len(own)]) != own or len(ids) > len(own) + 1:
        return None
    ends = [(len(text), len(text) + 1)]
    return [*map(tuple, made["offset_mapping"]), *ends[: len(ids) - len(own)]]


def _answer(chat: Chat, row: Encoded) -> tuple[str, Offsets]:
    """Return the text of a row's answer, and where its learnt tokens stand in it; its end of turn stands after it."""
    made = chat.tokenizer(row.text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    learnt = made[row.start : row.end]
    begin, end = learnt[0][0], learnt[-1][0]
    own = [(one - begin, other - begin) for one, other in learnt[:-1]]
    return row.text[begin:end], [*own, (end - begin, end - begin + 1)]


def _scored(scorer: Scorer, course: Course, k: int) -> Iterator[tuple[Encoded, Said]]:
    """Yield the rows with what a teacher says at each of its own tokens of the same answer, and of its end of turn."""
    size = course.options.per_device_train_batch_size
    ordered = sorted(course.rows, key=lambda row: len(row.ids))
    for begin in range(0, len(ordered), size):
        rows = ordered[begin : begin + size]
        answers = [_answer(course.chat, row)[0] for row in rows]
        asked = scorer.chat.encode([scorer.chat.prompt(row.messages[:-1], row.tools) for row in rows])
        said = [[*ids, scorer.chat.end_of_turn.id] for ids in scorer.chat.encode(answers)]
        seen = [
            replace(row, ids=[*prompt, *ids], start=len(prompt), end=len(prompt) + len(ids))
            for row, prompt, ids in zip(rows, asked, said, strict=True)
        ]
        logits, counts = scorer.score(seen), [len(ids) for ids in said]
        made = pieces(logits, sum(counts), scorer.columns)
        best = [
            place for piece in made for place in piece.float().log_softmax(-1).topk(min(k, piece.shape[-1])).values.tolist()
        ]
        at = 0
        for row, text, ids in zip(rows, answers, said, strict=True):
            yield row, Said(text, _offsets(scorer.chat, text, ids) or [], best[at : at + len(ids)])
            at += len(ids)
