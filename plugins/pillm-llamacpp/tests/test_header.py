from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pillm_llamacpp.gates.header import check_header

import pillm


def test_a_real_file_passes(gguf: pillm.ModelFile) -> None:
    check_header(gguf.path)


@settings(max_examples=150, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(head=st.sampled_from([b"", b"GGUF", b"GGUF\x03\x00\x00\x00"]), rest=st.binary(max_size=200))
def test_no_bytes_make_the_check_crash_or_hang(tmp_path: Path, head: bytes, rest: bytes) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(head + rest)
    with contextlib.suppress(pillm.DataError):
        check_header(path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"<html>", "not a GGUF file"),
        (b"GGUF", "ends after 4 bytes"),
        (struct.pack("<4sIQQ", b"GGUF", 1, 1, 1), "version 1"),
        (struct.pack(">4sIQQ", b"GGUF", 3, 1, 1), "byte order"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 1 << 60, 1), "that is no model"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 300, 20), "not copied whole"),
    ],
)
def test_the_complaint_says_what_is_wrong(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(pillm.DataError, match=complaint):
        check_header(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(pillm.DataError, match=r"nowhere\.gguf cannot be read"):
        check_header(tmp_path / "nowhere.gguf")
