"""Version 1 finds each row's probabilities, at the places that they belong to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pillm_easydistill import logits, student
from pillm_easydistill.student import Base

import pillm


def lessons_of(base: Path, data: pillm.TrainingData) -> list[student.Lesson]:
    return student.lessons(data, Base.open(str(base), None).chat, 250, pillm.Progress())[0]


def test_each_place_of_an_answer_gets_what_the_teacher_says_comes_next(base: Path, data: pillm.TrainingData) -> None:
    import torch

    lesson = lessons_of(base, data)[0]
    [line] = logits.lines_of([lesson], base, top=400, vocabulary=300)
    entries, row = json.loads(line), lesson.row
    assert len(entries) == row.end - row.start - 1
    model = student.load_teacher(base)
    for at, entry in enumerate(entries):  # version 1 lays entry `at` beside place start + at, which predicts the next token
        with torch.no_grad():
            known = model(input_ids=torch.tensor([row.ids[: row.start + at + 1]])).logits[0, -1].float().softmax(-1)
        assert entry[str(row.ids[row.start + at + 1])] == pytest.approx(float(known[row.ids[row.start + at + 1]]), rel=0.05)


def test_lines_come_in_the_order_of_training_epoch_after_epoch(tmp_path: Path) -> None:
    logits.write_logits(tmp_path / "l", ["0", "1", "2", "3", "4"], epochs=3, seed=7)
    lines = (tmp_path / "l").read_text("utf-8").split()
    assert [sorted(lines[at : at + 5]) for at in (0, 5, 10)] == [["0", "1", "2", "3", "4"]] * 3
    assert [int(line) for line in lines[5:10]] == logits.order(5, 8)


def test_ids_that_only_pad_the_teachers_output_are_left_out(base: Path, data: pillm.TrainingData) -> None:
    [line] = logits.lines_of(lessons_of(base, data)[:1], base, top=50, vocabulary=20)
    assert max(int(token) for entry in json.loads(line) for token in entry) < 20


def test_a_teacher_of_another_tokenizer_is_refused(base: Path, tmp_path: Path, rows: Callable[[list[Any]], pillm.Rows]) -> None:
    other = tmp_path / "other"
    shutil.copytree(base, other)
    given = json.loads((other / "tokenizer.json").read_text("utf-8"))
    given["added_tokens"].append({**given["added_tokens"][-1], "id": 300, "content": "<|more|>"})
    (other / "tokenizer.json").write_text(json.dumps(given), "utf-8")
    with pytest.raises(pillm.DataError, match="has another tokenizer than the base"):
        logits.open_teacher(str(other), Base.open(str(base), None))
