"""The training side calibrates, the validation side compares."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pillm_llamacpp.measuring.texts import Texts, affordable, texts_of

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
    small, large = affordable(texts, 4_000_000), affordable(texts, 8_000_000_000)
    assert len(small.calibration) > 3 * len(large.calibration) > 10
    numbers = [int(text[:5]) for text in large.calibration]
    assert numbers[0] < 150 < 1850 < numbers[-1]
    assert len(large.validation) == len(large.answers) > 0
    assert affordable(Texts(("short",), ("one",), (None,)), 8_000_000_000).validation == ("one",)
