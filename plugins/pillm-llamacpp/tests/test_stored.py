from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pillm_llamacpp.gates.stored import Stored, stored_tensors

import pillm


def test_names_types_and_shapes_are_read(checkpoint: pillm.Checkpoint) -> None:
    found = stored_tensors(checkpoint.path)
    assert found["model.norm.weight"] == Stored("F32", (256,))
    assert len(found) == 20


@settings(max_examples=80, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(0, 2**64 - 1), rest=st.binary(max_size=64) | st.text(max_size=20).map(json.dumps).map(str.encode))
def test_no_bytes_make_it_crash_or_hang(tmp_path: Path, length: int, rest: bytes) -> None:
    for count in (length, len(rest)):
        (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", count) + rest)
        with contextlib.suppress(pillm.DataError):
            assert stored_tensors(tmp_path) is not None


def test_a_file_that_ends_early_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"abc")
    with pytest.raises(pillm.DataError, match=r"model\.safetensors is no readable safetensors file"):
        stored_tensors(tmp_path)
