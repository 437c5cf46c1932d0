from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillm.intake.faults import Fault
from pillm.intake.jsonfiles import MAX_DEPTH, objects_in, read_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_sound_json_is_read_as_it_is(value: object) -> None:
    assert read_json(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")) == value


@given(st.binary(max_size=80))
def test_noise_is_refused_or_read(noise: bytes) -> None:
    with contextlib.suppress(Fault):
        read_json(noise)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "deeper than 64"),
        (b'{"a":' * 5000, "deeper than 64|not JSON"),
        (b"[" * 5_000_000, "deeper than 64|not JSON"),
        (b"[0" + b",0" * 13_000_000 + b"]", "more than 12000000 values"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "'c' stands twice"),
        (b"\xff\xfe{\x00}\x00", "byte order mark"),
        (b'"\xff"', "not UTF-8"),
        (b'{"a": 1', "not JSON"),
        (b"1" * 5000, "not JSON"),
    ],
)
def test_what_breaks_a_limit_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(Fault, match=reason):
        read_json(raw)


def test_brackets_within_texts_are_no_nesting() -> None:
    assert read_json(json.dumps(["[" * 500 + '"' + "\\" + "{" * 500]).encode()) == ["[" * 500 + '"' + "\\" + "{" * 500]
    assert read_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


def test_every_object_is_found() -> None:
    assert list(objects_in({"a": [{"b": 1}, [{"c": {}}]]}))[1:] == [{"c": {}}, {}, {"b": 1}]
