from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pillm


def write(path: Path, header: dict[str, Any], data: int) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(range(data)))


def test_types_shapes_and_places_are_read_from_every_file_of_a_folder(tmp_path: Path) -> None:
    one, two = tmp_path / "model-1.safetensors", tmp_path / "model-2.safetensors"
    write(one, {"a": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, "__metadata__": {"format": "pt"}}, 12)
    write(two, {"b": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}, 4)
    found = pillm.stored_tensors(tmp_path)
    assert {name: (told.dtype, told.shape, told.weights, told.path) for name, told in found.items()} == {
        "a": ("BF16", (2, 3), 6, one), "b": ("F32", (), 1, two),
    }  # fmt: skip
    assert two.read_bytes()[found["b"].start : found["b"].end] == bytes(range(4))
    assert pillm.stored_tensors(two) == {"b": found["b"]}
    assert pillm.stored_tensors(tmp_path / "model-2.safetensors")["b"].end == two.stat().st_size


def test_a_file_that_is_not_whole_or_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(pillm.DataError, match=r"model\.safetensors is no readable safetensors file"):
        pillm.stored_tensors(path)
    write(path, {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, 7)
    with pytest.raises(pillm.DataError, match=r"model\.safetensors is no readable safetensors file: .*not copied whole"):
        pillm.stored_tensors(tmp_path)


@settings(max_examples=80, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(0, 2**64 - 1), rest=st.binary(max_size=64) | st.text(max_size=20).map(json.dumps).map(str.encode))
def test_no_bytes_make_it_crash_or_hang(tmp_path: Path, length: int, rest: bytes) -> None:
    for count in (length, len(rest)):
        (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", count) + rest)
        with contextlib.suppress(pillm.DataError):
            assert pillm.stored_tensors(tmp_path) is not None
