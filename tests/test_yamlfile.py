"""YAML is plain data: what people write is what they mean, and nothing in it can act."""

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import pillm
from pillm.yamlfile import MAX_BYTES, MAX_DEPTH, parse_yaml, read_table


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5), ("5E3", 5000.0), ("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("-2.5e+3", -2500.0), ("1_000", 1000),
        ("0", 0), ("-7", -7), ("+7", 7),
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("true", True), ("False", False),
        ("TRUE", "TRUE"), ("null", None), ("~", None), ("", None),
        ("12:30", "12:30"), ("1:30:00", "1:30:00"), ("010", "010"), ("0x10", "0x10"), ("2026-01-02", "2026-01-02"),
        (".inf", ".inf"), (".nan", ".nan"), ("1.2.3", "1.2.3"), ("v1", "v1"), ("e5", "e5"), ("1e", "1e"), ("=", "="),
        ("'1'", "1"), ('"1e-5"', "1e-5"), ("[a, 1e-5]", ["a", 1e-5]), ("{a: {b: c}}", {"a": {"b": "c"}}),
        ("texte: 'ça'", {"texte": "ça"}), ("a: |\n  b\n  c\n", {"a": "b\nc\n"}), ("<<: {a: 1}", {"<<": {"a": 1}}),
    ],
)  # fmt: skip
def test_what_people_write_is_what_they_mean(text, value):
    found = parse_yaml(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &x 1\nb: *x", "line 1: anchors are not allowed"),
        ("a: 1\nb: *x", "line 2: aliases are not allowed"),
        ("a: !!python/object/apply:os.system [ls]", "line 1: tags are not allowed"),
        ("a: !secret x", "line 1: tags are not allowed"),
        ("!!binary aGk=", "tags are not allowed"),
        ("a: 1\na: 2", "line 2: 'a' stands twice"),
        ("a:\n  b: 1\n  c: 2\n  b: 3", "line 4: 'b' stands twice"),
        ("? [a, b]\n: c", "line 1: a key must be a word"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "deeper than 32"),
        ("[" * 100_000, "deeper than 32"),
        ("a: [1", "line 1"),
        ("a: b: c", "line 1"),
        ("a\n---\nb", "line 2"),
        ("a: \x07", "special characters"),
        ("a" * (MAX_BYTES + 1), "longer than 1024 KiB"),
    ],
)
def test_what_could_act_or_be_misread_is_refused_with_its_line(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_yaml(text)


words = st.text(st.characters(codec="ascii", categories=["L"]), min_size=1)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | numbers | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(plain)
def test_plain_data_written_by_another_hand_is_read_back(value):
    def close(one, other):
        if isinstance(one, float):
            return math.isclose(one, other)
        if isinstance(one, dict):
            return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
        if isinstance(one, list):
            return len(one) == len(other) and all(map(close, one, other))
        return one == other

    assert close(value, parse_yaml(yaml.safe_dump(value, default_style='"' if isinstance(value, str) else None)))


@settings(deadline=None)
@given(st.text())
def test_any_text_is_data_or_a_reason(text):
    try:
        parse_yaml(text)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - either is right


def test_many_keys_are_no_trouble():
    assert len(parse_yaml("\n".join(f"k{number}: 1" for number in range(5_000)))) == 5_000


def test_a_file_that_holds_no_table_is_named_with_what_it_should_be(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("a: 1\nb: [2]\n", "utf-8")
    assert read_table(path, "a recipe", "Write one.") == {"a": 1, "b": [2]}
    wrong = {"- a": "mine.yaml: a recipe is a table", "a: &b 1": "mine.yaml: not a recipe: .*anchors are not allowed"}
    for text, said in wrong.items():
        path.write_text(text, "utf-8")
        with pytest.raises(pillm.ConfigError, match=said):
            read_table(path, "a recipe", "Write one.")
    with pytest.raises(pillm.ConfigError, match=r"gone.yaml: No such file.*\. Write one\."):
        read_table(tmp_path / "gone.yaml", "a recipe", "Write one.")
