"""The GGUF reader: what is sound is read, what is hostile is refused with the byte where it stands."""

from __future__ import annotations

import contextlib
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.intake.faults import Fault
from pillm.intake.gguf import Head, read_head
from pillm.testing.ggufs import Typed, gguf, text
from pillm.testing.hostile import SOUND


def read(raw: bytes) -> Head:
    return read_head(io.BytesIO(raw), len(raw))


def test_what_the_gguf_library_writes_is_read(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "made.gguf", "llama")
    writer.add_block_count(2)
    writer.add_token_list(["a", "é", ""])
    writer.add_token_scores([0.5, 1.0, 2.0])
    writer.add_custom_alignment(64)
    writer.add_tensor("token_embd.weight", np.zeros((3, 32), np.float32))
    writer.add_tensor("output_norm.weight", np.ones(7, np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    raw = (tmp_path / "made.gguf").read_bytes()
    head = read(raw)
    assert head.metadata["general.architecture"].value == "llama"
    assert head.metadata["tokenizer.ggml.tokens"].texts == (b"a", "é".encode(), b"")
    assert head.metadata["tokenizer.ggml.scores"].numbers() == (0.5, 1.0, 2.0)
    assert [(one.name, one.shape, one.type, one.offset, one.bytes) for one in head.tensors] == [
        ("token_embd.weight", (32, 3), 0, 0, 384),
        ("output_norm.weight", (7,), 1, 384, 14),
    ]
    assert (head.version, head.size, head.spare) == (3, len(raw), 0)


def test_bytes_after_the_last_tensor_are_counted() -> None:
    assert read(SOUND).spare == 0
    assert read(SOUND + bytes(99)).spare == 99


@pytest.mark.parametrize(
    ("raw", "reason", "at"),
    [
        (b"GGU", "it ends at byte 3", 0),
        (b"PK\x03\x04" + bytes(64), "does not begin with 'GGUF' but with b'PK", 0),
        (gguf({}, version=1), "version 1", 4),
        (b"GGUF" + struct.pack(">I", 3) + bytes(64), "big endian", 4),
        (gguf({}, counts=(1 << 40, 0)), "1099511627776 tensors", 8),
        (gguf({}, counts=(0, 1 << 40)), "metadata keys", 16),
        (gguf([("a", struct.pack("<IIQ", 9, 8, 1 << 20))]), "within its header", 49),
        (gguf([("a", 1), ("a", 1)]), "'a' stands twice", 41),
        (gguf({"general.alignment": 48}), "an alignment of 48", 49),
        (gguf({"general.alignment": Typed(10, 32)}), "as UINT32", 49),
        (gguf({}, [("w", (8,), 0, 0), ("v", (8,), 0, 64)], 96), "leaves a hole", 57),
        (gguf({}, [("w", (8,), 0, 0), ("v", (8,), 0, 0)], 96), "overlaps", 57),
    ],
)
def test_a_refusal_names_what_and_where(raw: bytes, reason: str, at: int) -> None:
    with pytest.raises(Fault) as caught:
        read(raw)
    assert reason in caught.value.reason
    assert caught.value.at == at


def test_what_is_only_cut_off_is_called_broken_and_what_contradicts_itself_is_not() -> None:
    with pytest.raises(Fault) as cut:
        read(SOUND[:300])
    with pytest.raises(Fault) as overlapping:
        read(gguf({}, [("w", (8,), 0, 0), ("v", (8,), 0, 0)], 96))
    assert (cut.value.broken, overlapping.value.broken) == (True, False)


@pytest.mark.parametrize("claimed", [1 << 24, 1 << 40, (1 << 64) - 1])
def test_a_claim_makes_no_room_before_the_bytes_are_there(claimed: int) -> None:
    class Counting(io.BytesIO):
        most = 0

        def read(self, size: int | None = -1) -> bytes:
            self.most = max(self.most, size or 0)
            return super().read(size)

    raw = gguf([("a", struct.pack("<IIQ", 9, 8, claimed))])
    file = Counting(raw)
    with pytest.raises(Fault):
        read_head(file, len(raw))
    assert file.most <= 1 << 16


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.integers(4, len(SOUND) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_no_damage_makes_the_reader_fail_in_a_way_of_its_own(damage: list[tuple[int, int]]) -> None:
    raw = bytearray(SOUND)
    for place, byte in damage:
        raw[place] = byte
    with contextlib.suppress(Fault):
        head = read(bytes(raw))
        assert all(one.bytes <= head.size for one in head.tensors)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200))
def test_noise_after_the_magic_is_refused_or_read(noise: bytes) -> None:
    with contextlib.suppress(Fault):
        read(b"GGUF\x03\x00\x00\x00" + noise)


def test_texts_cannot_borrow_bytes_of_each_other() -> None:
    read(gguf({"a": ["é"]}))
    with pytest.raises(Fault, match="not UTF-8"):
        read(gguf([("a", struct.pack("<IIQ", 9, 8, 2) + text(b"\xc3") + text(b"\xa9"))]))
