"""The conversations that quantisations are measured with are read as they were written, or the line is named."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillm import Checkpoint, DataError, RenderedText
from pillm.rendered import read_rendered

GOOD = [
    {"text": "a"},
    {"id": "2", "text": "b", "split": "train", "answer": [1, 4]},
    {"text": "c", "split": "validation", "answer": None},
]


def written(folder, rows):
    path = folder / "calibration.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_text_side_and_answer_are_read(tmp_path):
    assert read_rendered(written(tmp_path, GOOD)) == [
        RenderedText(text="a"),
        RenderedText(text="b", split="train", answer=(1, 4)),
        RenderedText(text="c", split="validation"),
    ]


def test_a_checkpoint_calibrates_on_the_training_side_and_compares_on_the_other(tmp_path):
    written(tmp_path, GOOD)
    checkpoint = Checkpoint(path=tmp_path)
    assert checkpoint.calibration() == ["a", "b"]
    assert [row.text for row in checkpoint.validation()] == ["c"]
    assert Checkpoint(path=tmp_path / "none").rendered() == []


@pytest.mark.parametrize(
    "line",
    ["{", "[1]", "{}", '{"text": 3}', '{"text": "a", "split": "test"}', '{"text": "a", "answer": [1]}',
     '{"text": "a", "answer": [2, 1]}', '{"text": "a", "answer": ["x", 2]}', '{"text": "a", "answer": 5}', "\udcff"],
)  # fmt: skip
def test_a_damaged_line_is_named_with_the_remedy(tmp_path, line):
    path = tmp_path / "calibration.jsonl"
    path.write_bytes(b'{"text": "a"}\n' + line.encode("utf-8", "surrogateescape") + b"\n")
    with pytest.raises(DataError, match=r"calibration\.jsonl:2 is damaged .* Train again"):
        read_rendered(path)


@given(st.lists(st.tuples(st.text(), st.sampled_from(["train", "calibration", "validation"]))))
def test_any_text_survives(tmp_path_factory, rows):
    path = written(tmp_path_factory.mktemp("any"), [{"text": text, "split": split} for text, split in rows])
    assert [(row.text, row.split) for row in read_rendered(path)] == rows
