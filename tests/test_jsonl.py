"""JSON lines are read strictly, and every refusal names file and line."""

import json
import math
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm import DataError
from pillm.jsonl import MAX_DEPTH, MAX_LINE, parse_json, read_lines, write_rows

text = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.lists(st.dictionaries(text, values, max_size=4), max_size=5))
def test_what_is_written_is_read_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    assert write_rows(path, rows) == len(rows)
    assert [row for _, row in read_lines(path)] == rows


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_value_or_a_reason(document):
    with suppress(ValueError):
        parse_json(document)


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_rows_or_a_sentence(tmp_path_factory, garbage):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_bytes(garbage)
    with suppress(DataError):
        assert all(isinstance(row, dict) for _, row in read_lines(path))


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ('{"a": 1, "a": 2}', "repeats a key"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": -Infinity}', "-Infinity is not JSON"),
        ('{"a": 1e999}', "too large"),
        ("[" * 5000 + "]" * 5000, "deeper than 64"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "deeper than 64"),
        ("[" * 200_000, "deeper than 64"),
        (r'"\ud83d"', "surrogate"),
        ('"\ud83d"', "surrogate"),
        ('{"a": 1} x', "Extra data"),
        ("", "Expecting value"),
    ],
)
def test_json_that_another_program_would_read_otherwise_is_refused(document, reason):
    with pytest.raises(ValueError, match=reason):
        parse_json(document)


def test_what_is_just_allowed_is_read():
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert parse_json(r'"\ud83d\ude00"') == "\U0001f600"
    assert math.isclose(parse_json("1e308"), 1e308)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'{"a": 1}\n{"a": ', r"p\.jsonl:2: not a JSON object .* seems to be cut off\. Mend or remove"),
        (b'{"a": 1}\n{"a": \n', r"p\.jsonl:2: not a JSON object \(Expecting value at column 6\)\. Mend"),
        (b'\n{"a": "\xe9"}\n', r"p\.jsonl:2: byte 7 is not UTF-8"),
        (b"[1]\n", r"p\.jsonl:1: the line holds a list"),
        (b'{"a": 1, "a": 2}\n', r"p\.jsonl:1: not a JSON object \(an object repeats a key\)"),
        (b'{"a": "' + b"a" * MAX_LINE + b'"}', r"p\.jsonl:1: the line is longer than 8 MiB"),
    ],
)
def test_a_bad_line_is_named_with_its_place_and_remedy(tmp_path, content, sentence):
    path = tmp_path / "p.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        list(read_lines(path))


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(DataError, match="is not a file"):
        list(read_lines(tmp_path))


def test_blank_lines_count_and_a_byte_order_mark_does_not_matter(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"a": 2}')
    assert list(read_lines(path)) == [("p.jsonl:1", {"a": 1}), ("p.jsonl:4", {"a": 2})]


def test_a_number_that_is_not_json_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_rows(tmp_path / "p.jsonl", [{"a": math.nan}])


@pytest.mark.parametrize(("row", "name"), [({"id": "r\ud800", "a": 1}, r"row 'r\\ud800'"), ({"a": ["\udc00"]}, "a row")])
def test_half_of_a_surrogate_pair_is_refused_by_the_name_of_its_row(tmp_path, row, name):
    with pytest.raises(DataError, match=f"{name} holds half of a surrogate pair, which cannot be written"):
        write_rows(tmp_path / "p.jsonl", [{"id": "whole"}, row])


def test_french_is_written_as_it_is(tmp_path):
    write_rows(tmp_path / "p.jsonl", [{"a": "Montréal, à soir"}])
    assert (tmp_path / "p.jsonl").read_bytes() == '{"a": "Montréal, à soir"}\n'.encode()
    assert json.loads((tmp_path / "p.jsonl").read_text("utf-8")) == {"a": "Montréal, à soir"}
