"""The GGUF header reader: what is sound is read, what is hostile is refused."""

from __future__ import annotations

import contextlib
import os
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.devices.ggufheader import GGUFHeader, Skipped, read_header
from pillm.errors import DataError


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(said: Any) -> bytes:
    if isinstance(said, bool):
        return struct.pack("<I?", 7, said)
    if isinstance(said, int):
        return struct.pack("<II", 4, said)
    if isinstance(said, float):
        return struct.pack("<If", 6, said)
    if isinstance(said, str):
        return struct.pack("<I", 8) + text(said)
    if said and isinstance(said[0], str):
        return struct.pack("<IIQ", 9, 8, len(said)) + b"".join(text(one) for one in said)
    return struct.pack("<IIQ", 9, 5, len(said)) + struct.pack(f"<{len(said)}i", *said)


def gguf(
    metadata: dict[str, Any], tensors: list[tuple[str, tuple[int, ...], int, int]], data: int = 0, version: int = 3
) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    head += b"".join(text(key) + value(said) for key, said in metadata.items())
    for name, shape, type_, offset in tensors:
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, type_, offset)
    return head + bytes(-len(head) % 32) + bytes(data)


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
        (b"", "cannot be read"),
        (b"GGU", "within its header"),
        (b"PK\x03\x04" + bytes(64), "does not begin with 'GGUF'"),
        (gguf({}, [], version=1), "version 1"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(64), "big endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 40, 0), "1099511627776 tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 40), "metadata keys"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 60), "bytes of text"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<I", 99), "unknown type 99"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 9, 1), "items of the type 9"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 8, 1 << 60), "items in an array"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 8, 1 << 20), "array of texts"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQQ", 9, 8, 1, 1 << 62), "past its end"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + (text("k") + value(1)) * 2, "stands twice"),
        (gguf({}, [("w", (32,), 99, 0)], 64), "unknown storage type 99"),
        (gguf({}, [("w", (33,), 2, 0)], 64), "do not divide into blocks"),
        (gguf({}, [("w", (0,), 0, 0)], 64), "0 weights"),
        (gguf({}, [("w", (1 << 40, 1 << 40), 0, 0)], 64), "weights"),
        (gguf({}, [("w", (1,) * 5, 0, 0)], 64), "5 dimensions"),
        (gguf({}, [("w", (32,), 0, 0)], 64), "outside of its"),
        (gguf({}, [("w", (8,), 0, 4)], 64), "outside of its"),
        (gguf({}, [("w", (8,), 0, 0), ("w", (8,), 0, 32)], 64), "share a name"),
        (gguf({"general.alignment": 0}, []), "alignment of 0"),
        (gguf({"general.alignment": "x"}, []), "alignment of 'x'"),
    ],
)
def test_a_malformed_file_is_refused_with_its_reason(tmp_path: Path, raw: bytes, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, raw)
    assert reason in str(caught.value)
    assert "model.gguf" in str(caught.value)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    for length in range(len(SOUND)):
        if length % 13 == 0:
            with pytest.raises(DataError):
                read(tmp_path, SOUND[:length])


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_no_damage_crashes_or_hangs(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    raw = bytearray(SOUND[:420])
    for place, byte in data.draw(
        st.lists(st.tuples(st.integers(4, len(raw) - 1), st.integers(0, 255)), min_size=1, max_size=6)
    ):
        raw[place] = byte
    path = tmp_path_factory.mktemp("gguf") / "x.gguf"
    path.write_bytes(bytes(raw) + SOUND[420:])
    try:
        header = read_header(path)
    except DataError:
        return
    assert all(tensor.bytes <= header.file_bytes for tensor in header.tensors)


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200))
def test_noise_after_the_magic_is_refused_or_read(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.mktemp("gguf") / "x.gguf"
    path.write_bytes(b"GGUF\x03\x00\x00\x00" + noise)
    with contextlib.suppress(DataError):
        read_header(path)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    for path in (tmp_path, tmp_path / "nothing.gguf", tmp_path / "pipe.gguf"):
        with pytest.raises(DataError, match="is not a file"):
            read_header(path)


def test_a_big_vocabulary_takes_milliseconds(tmp_path: Path) -> None:
    raw = gguf({"tokens": [f"token{number}" for number in range(60_000)]}, [])
    (tmp_path / "x.gguf").write_bytes(raw)
    started = time.process_time()
    assert read_header(tmp_path / "x.gguf").metadata["tokens"] == Skipped(60_000)
    assert time.process_time() - started < 0.5
