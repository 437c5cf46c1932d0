from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from pillm.intake.faults import Fault
from pillm.intake.tensorfile import Placed, read_tensors
from pillm.testing.hostile import safetensors, tensor_files


def read(raw: bytes) -> dict[str, Placed]:
    return read_tensors(io.BytesIO(raw), len(raw))


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    tensors = {"b": np.zeros((3, 2), np.float32), "a": np.ones(5, np.float16), "none": np.zeros((0, 4), np.int8)}
    save_file(tensors, tmp_path / "x.safetensors", {"format": "pt"})
    found = read((tmp_path / "x.safetensors").read_bytes())
    assert {name: (one.dtype, one.shape) for name, one in found.items()} == {
        "b": ("F32", (3, 2)), "a": ("F16", (5,)), "none": ("I8", (0, 4)),
    }  # fmt: skip


def test_each_refusal_is_a_refusal_of_its_own_library_too() -> None:
    stricter = {"a name that stands twice", "metadata that is no text", "a header full of spaces"}
    for name, raw in tensor_files():
        with pytest.raises(Fault):
            read(raw)
        if name not in stricter:
            with pytest.raises((SafetensorError, OverflowError, ValueError, KeyError)):
                load(raw)


@given(st.integers(0, 120), st.integers(0, 255))
def test_a_damaged_header_is_refused_or_read_as_the_library_reads_it(place: int, byte: int) -> None:
    sound = safetensors({"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}, 16)
    raw = bytearray(sound)
    raw[place % len(sound)] = byte
    with contextlib.suppress(Fault):
        found = read(bytes(raw))
        assert {name: one.shape for name, one in found.items()} == {name: one.shape for name, one in load(bytes(raw)).items()}


def test_half_bytes_add_up() -> None:
    header = {"w": {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]}}
    assert read(safetensors(header, 2))["w"].shape == (4,)
    with pytest.raises(Fault, match=r"takes 2 bytes, and its shape and type make 1\.5"):
        read(safetensors({"w": {**header["w"], "shape": [3]}}, 2))


def test_a_long_header_of_many_tensors_is_no_bloat() -> None:
    told = {
        f"model.layers.{number}.self_attn.q_proj.weight": {"dtype": "U8", "shape": [1], "data_offsets": [number, number + 1]}
        for number in range(20_000)
    }
    assert len(json.dumps(told)) > 1 << 20
    assert len(read(safetensors(told, 20_000))) == 20_000
