"""The training side calibrates, the validation side compares."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pillm_llamacpp.measuring.texts import CHOICE, NAMED, Budget, Texts, affordable, compared, spread, texts_of

import pillm


def checkpoint(folder: Path, rows: list[dict[str, object]]) -> pillm.Checkpoint:
    (folder / "calibration.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return pillm.Checkpoint(path=folder)


def test_each_side_serves_its_purpose(tmp_path: Path) -> None:
    rows = [
        {"text": "a"}, {"text": "b", "split": "train"}, {"text": "c", "split": "validation", "answer": [3, 7]}, {"text": ""},
    ]  # fmt: skip
    assert texts_of(checkpoint(tmp_path, rows)) == Texts(("a", "b"), ("c",), ((3, 7),))


@pytest.mark.parametrize(("split", "seen"), [("calibration", False), ("train", True)])
def test_without_validation_rows_a_quarter_is_held_out(tmp_path: Path, split: str, *, seen: bool) -> None:
    found = texts_of(checkpoint(tmp_path, [{"text": str(number), "split": split} for number in range(10)]))
    assert found.validation == ("0", "4", "8")
    assert set(found.calibration) == {str(number) for number in range(10)} - {"0", "4", "8"}
    assert found.seen == seen


def test_a_folder_of_another_program_has_none(tmp_path: Path) -> None:
    assert texts_of(pillm.Checkpoint(path=tmp_path)) == Texts()


def test_a_large_model_reads_fewer_texts_and_they_are_spread_evenly() -> None:
    texts = Texts(tuple(f"{number:05} " + "x" * 300 for number in range(2000)), ("y" * 300,) * 400, (None,) * 400)
    small, large = affordable(texts, 4_000_000), affordable(texts, 8_000_000_000, Budget(answer_tokens=4000, rows=20))
    assert len(small.calibration) > 3 * len(large.calibration) > 10
    numbers = [int(text[:5]) for text in large.calibration]
    assert numbers[0] < 150 < 1850 < numbers[-1]
    assert len(large.validation) == len(large.answers) > 0
    assert len(large.validation) < len(small.validation)
    assert affordable(Texts(("short",), ("one",), (None,)), 8_000_000_000).validation == ("one",)


SHORT = [(20, 100)] * 1000
"""A thousand chats with answers of 20 tokens."""


@pytest.mark.parametrize(
    ("model_bytes", "named", "choice"), [(10_000_000, 103, 327), (1_000_000_000, 80, 100), (3_000_000_000, 32, 100)]
)
def test_a_choice_rests_on_a_hundred_short_chats_however_large_the_model(model_bytes: int, named: int, choice: int) -> None:
    texts = Texts((), tuple("x" * 300 for _ in SHORT), tuple((80, 100) for _ in SHORT))
    assert len(affordable(texts, model_bytes).validation) == named
    found = affordable(texts, model_bytes, CHOICE)
    assert len(found.validation) == len(found.answers) == choice
    assert found.answer_tokens == 20 * choice


def test_long_answers_need_fewer_rows() -> None:
    assert compared([(400, 600)] * 1000, 32_768, CHOICE) == CHOICE.fewest
    assert compared([(400, 600)] * 1000, 32_768, NAMED) == NAMED.fewest
    assert compared([(100, 200)] * 1000, 32_768, CHOICE) == 82


def test_what_is_asked_for_at_the_most_is_kept_to() -> None:
    assert compared(SHORT, 32_768, Budget(most=5)) == 5
    assert compared(SHORT[:3], 32_768, CHOICE) == 3
    assert compared([], 32_768, CHOICE) == 0


@given(st.integers(0, 300), st.integers(1, 300))
def test_rows_are_taken_evenly_from_all(rows: int, count: int) -> None:
    found = spread(rows, count)
    assert len(found) == len(set(found)) == min(rows, count)
    gaps = {after - before for before, after in pairwise(found)}
    assert max(gaps, default=1) - min(gaps, default=1) <= 1


def test_a_text_whose_answer_nobody_marked_is_counted_by_its_letters() -> None:
    assert Texts((), ("abcdef", "x"), (None, (2, 5))).lengths() == [(2, 2), (3, 5)]
