"""A file's template and tokens are held against the training's without asking the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pillm.artifacts import Checkpoint, ModelFile
from pillm.contract import Contract
from pillm.report.filechecks import check_files
from tests.test_ggufheader import gguf

VOCABULARY = {"a": 0, "b": 1, "é": 2}
SOUND: dict[str, Any] = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.chat_template": "T {{ x }}",
    "tokenizer.ggml.tokens": ["a", "b", "é", "<e>", "[PAD4]"],
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    """Return a folder with a contract and a tokenizer."""
    Contract(template="T {{ x }}").save(tmp_path / "contract.json")
    added = [{"id": 3, "content": "<e>"}]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": VOCABULARY}, "added_tokens": added}))
    return Checkpoint(path=tmp_path)


def checked(checkpoint: Checkpoint, **changes: Any) -> dict[str, tuple[bool, str]]:
    path = checkpoint.path / "m.gguf"
    path.write_bytes(gguf({name: value for name, value in {**SOUND, **changes}.items() if value is not None}, []))
    return {one.what: (one.ok, one.detail) for one in check_files([ModelFile.of(path, "F16")], checkpoint)}


def test_a_sound_file_passes_both(checkpoint: Checkpoint) -> None:
    assert checked(checkpoint) == {"chat template": (True, ""), "tokens": (True, "")}


def test_another_template_is_placed(checkpoint: Checkpoint) -> None:
    other = checked(checkpoint, **{"tokenizer.chat_template": "T { x }"})
    assert other["chat template"] == (False, "it is not the one trained with, from character 3 on")
    assert checked(checkpoint, **{"tokenizer.chat_template": None})["chat template"] == (False, "the file carries none")


def test_swapped_tokens_are_counted_and_the_first_is_named(checkpoint: Checkpoint) -> None:
    swapped = checked(checkpoint, **{"tokenizer.ggml.tokens": ["b", "a", "é", "<e>", "x"]})
    assert swapped["tokens"] == (False, "2 ids have another text, the first is 0: 'a' in training, 'b' in the file")


def test_what_cannot_be_told_is_left_out(checkpoint: Checkpoint, tmp_path: Path) -> None:
    assert "tokens" not in checked(checkpoint, **{"tokenizer.ggml.model": "bert"})
    (checkpoint.path / "tokenizer.json").write_text("{")
    assert "tokens" not in checked(checkpoint)
    (checkpoint.path / "contract.json").unlink()
    assert checked(checkpoint) == {}
    (tmp_path / "x.table").write_text("x")
    assert check_files([ModelFile.of(tmp_path / "x.table", "F16")], checkpoint) == []


def test_a_file_that_is_no_gguf_is_said(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"nothing")
    (found,) = check_files([ModelFile.of(tmp_path / "x.gguf", "F16")], checkpoint)
    assert (found.what, found.ok) == ("file", False)
