"""The GGUF header reader: what is sound is read, what is hostile is refused."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pillm.devices.ggufheader import GGUFHeader, Skipped, read_header
from pillm.errors import DataError
from pillm.testing.ggufs import gguf

SOUND = gguf(
    {"general.architecture": "llama", "llama.block_count": 2, "rate": 0.5, "yes": True, "tokens": ["a", "é", ""], "kv": [1, 2]},
    [("token_embd.weight", (256, 10), 12, 0), ("norm.weight", (256,), 0, 1440)],
    1440 + 1024,
)


def read(tmp_path: Path, raw: bytes) -> GGUFHeader:
    path = tmp_path / "model.gguf"
    path.write_bytes(raw)
    return read_header(path)


def test_metadata_and_tensors_are_read(tmp_path: Path) -> None:
    header = read(tmp_path, SOUND)
    assert header.metadata == {
        "general.architecture": "llama", "llama.block_count": 2, "rate": 0.5, "yes": True, "tokens": Skipped(3), "kv": (1, 2),
    }  # fmt: skip
    embedding, norm = header.tensors
    assert (embedding.name, embedding.shape, embedding.type, embedding.weights, embedding.bytes) == (
        "token_embd.weight", (256, 10), "Q4_K", 2560, 1440,
    )  # fmt: skip
    assert (norm.type, norm.bytes) == ("F32", 1024)
    assert header.file_bytes == len(SOUND)


def test_a_long_array_is_stepped_over(tmp_path: Path) -> None:
    header = read(tmp_path, gguf({"scores": list(range(5000))}, []))
    assert header.metadata == {"scores": Skipped(5000)}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "within its header"),
        (b"PK\x03\x04" + bytes(64), "does not begin with 'GGUF'"),
        (gguf({"general.alignment": 0}), "alignment of 0"),
        (gguf({}, [("w", (32,), 99, 0)], 64), "unknown storage type 99"),
    ],
)
def test_a_malformed_file_is_refused_with_its_reason(tmp_path: Path, raw: bytes, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, raw)
    assert reason in str(caught.value)
    assert "model.gguf" in str(caught.value)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    for path, reason in (
        (tmp_path, "not a file"),
        (tmp_path / "nothing.gguf", "No such file"),
        (tmp_path / "pipe.gguf", "a pipe"),
    ):
        with pytest.raises(DataError, match=reason):
            read_header(path)


def test_a_big_vocabulary_takes_milliseconds(tmp_path: Path) -> None:
    raw = gguf({"tokens": [f"token{number}" for number in range(60_000)]}, [])
    (tmp_path / "x.gguf").write_bytes(raw)
    started = time.process_time()
    assert read_header(tmp_path / "x.gguf").metadata["tokens"] == Skipped(60_000)
    assert time.process_time() - started < 0.5


def test_arrays_of_texts_that_are_asked_for_are_kept(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(SOUND)
    header = read_header(tmp_path / "model.gguf", texts=("tokens", "kv", "none"))
    assert header.texts == {"tokens": ("a", "é", "")}
    assert read_header(tmp_path / "model.gguf").texts == {}
