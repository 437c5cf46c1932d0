"""Universal logit distillation: spans of one text that two tokenizers wrote."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pillm_hf.distilling.uld import Span, aligned_spans

import pillm

Pieces = list[bytes]


def pieces(text: str, cuts: set[int]) -> Pieces:
    data = text.encode()
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[begin:end] for begin, end in pairwise(places)]


def offsets(text: str, tokens: Pieces) -> list[tuple[int, int]]:
    """Return offsets in characters as a byte-level tokenizer tells them: pieces of one character share its place."""
    owner = [index for index, letter in enumerate(text) for _ in letter.encode()]
    found, place = [], 0
    for token in tokens:
        found.append((owner[place], owner[place + len(token) - 1] + 1))
        place += len(token)
    return found


TEXTS = st.text(alphabet="ab é€🙂", min_size=1, max_size=12)
CUTS = st.sets(st.integers(0, 60), max_size=12)


@settings(max_examples=300)
@given(TEXTS, CUTS, CUTS)
def test_spans_cover_both_sides_in_order_and_write_the_same_text(text: str, one: set[int], other: set[int]) -> None:
    student, teacher = pieces(text, one), pieces(text, other)
    spans = aligned_spans(offsets(text, student), offsets(text, teacher))
    assert [token for span in spans for token in span.student] == list(range(len(student)))
    assert [token for span in spans for token in span.teacher] == list(range(len(teacher)))
    for span in spans:
        mine, theirs = (b"".join(side[place] for place in places) for side, places in
                        ((student, span.student), (teacher, span.teacher)))  # fmt: skip
        assert mine == theirs
        assert mine.decode()


@settings(max_examples=200)
@given(TEXTS, CUTS, CUTS)
def test_spans_are_as_small_as_the_tokens_allow(text: str, one: set[int], other: set[int]) -> None:
    def ends(tokens: Pieces) -> set[int]:
        return {sum(map(len, tokens[:count])) for count in range(1, len(tokens) + 1)}

    student, teacher = pieces(text, one), pieces(text, other)
    letters = {len(text[:count].encode()) for count in range(1, len(text) + 1)}
    spans = aligned_spans(offsets(text, student), offsets(text, teacher))
    assert len(spans) == len(ends(student) & ends(teacher) & letters)


@given(TEXTS, CUTS)
def test_a_tokenisation_aligns_with_itself_token_by_token(text: str, cuts: set[int]) -> None:
    whole = [(index, index + 1) for index in range(len(text))]
    assert aligned_spans(whole, whole) == [Span(range(i, i + 1), range(i, i + 1)) for i in range(len(text))]


def test_white_space_that_offsets_leave_out_breaks_no_span() -> None:
    trimmed, whole = [(0, 2), (3, 5), (6, 8)], [(0, 2), (2, 5), (5, 6), (6, 8)]
    spans = aligned_spans(trimmed, whole)
    assert [(span.student, span.teacher) for span in spans] == [
        (range(1), range(1)), (range(1, 2), range(1, 2)), (range(2, 3), range(2, 4)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("student", "said"),
    [([(0, 0), (0, 1), (1, 2)], [range(2), range(2, 3)]), ([(0, 1), (1, 2), (2, 2)], [range(1), range(1, 3)]),
     ([(0, 1), (1, 1), (1, 2)], [range(1), range(1, 3)])],
)  # fmt: skip
def test_tokens_without_text_belong_to_a_span_too(student: list[tuple[int, int]], said: list[range]) -> None:
    assert [span.student for span in aligned_spans(student, [(0, 1), (1, 2)])] == said


@pytest.mark.parametrize(("one", "other"), [([(0, 3)], [(0, 2)]), ([], [(0, 2)]), ([(0, 2)], [])])
def test_tokens_of_different_texts_are_refused(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    with pytest.raises(pillm.DataError, match="not of one text"):
        aligned_spans(one, other)


def test_nothing_aligns_with_nothing() -> None:
    assert aligned_spans([], []) == []


def test_two_real_tokenizers_align(base: Path, pairs: list[tuple[str, str]]) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    other = Tokenizer(models.BPE())
    other.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    other.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    other.train_from_iterator(["rouge vert gâteau"], trainers.BpeTrainer(vocab_size=264, initial_alphabet=alphabet))
    student = Tokenizer.from_file(str(base / "tokenizer.json"))
    for _, text in pairs:
        mine, theirs = student.encode(text), other.encode(text)
        spans = aligned_spans(mine.offsets, theirs.offsets)
        assert len(spans) > 1
        for span in spans:
            same = {student.decode([mine.ids[place] for place in span.student]),
                    other.decode([theirs.ids[place] for place in span.teacher])}  # fmt: skip
            assert len(same) == 1
