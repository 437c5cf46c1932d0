"""Text and plain data become options, and every refusal is a sentence that names the option."""

from typing import ClassVar, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pillm import ConfigError, Metric, Teacher
from pillm.options import configure, describe, parse_assignments


class Everything(Metric):
    """Takes every type of option."""

    name: ClassVar[str] = "everything"
    rate: float = Field(1.0, gt=0, le=2, description="A rate.")
    rows: int = Field(3, ge=1, description="A number.")
    flag: bool = Field(False, description="A flag.")
    word: str = Field("a", description="A word.")
    maybe: str | None = Field(None, description="A word or none.")
    number: int | None = Field(None, description="A number or none.")
    kind: Literal["a", "b"] = Field("a", description="One of two.")
    many: list[str] = Field(default_factory=list, description="Words.")
    pair: tuple[int, ...] | None = Field(None, description="Numbers.")
    table: dict[str, int] = Field(default_factory=dict, description="A table.", json_schema_extra={"key": False})
    token_env: str = Field("TOKEN", pattern="^[A-Z]+$", description="A variable.")

    @field_validator("word")
    @classmethod
    def _not_loud(cls, value):
        if value.isupper():
            raise ValueError("must not be loud")
        return value

    @model_validator(mode="after")
    def _fits(self):
        if self.rows == 13:
            raise ValueError("13 rows bring bad luck")
        return self

    def score(self, prompt, answer):
        return 1.0


class Needy(Teacher):
    """Needs one option."""

    name: ClassVar[str] = "needy"
    model: str = Field(description="The model to ask.")

    def answer(self, requests):
        return iter(())


def made(*pairs):
    return configure(Everything, parse_assignments(pairs), kind="metric")


@pytest.mark.parametrize(
    ("pair", "name", "value"),
    [
        ("rate=1e-5", "rate", 1e-5),
        ("rows=12", "rows", 12),
        ("flag=yes", "flag", True),
        ("flag=off", "flag", False),
        ("word=no", "word", "no"),
        ("word=1e-5", "word", "1e-5"),
        ("word=", "word", ""),
        ("word=a=b", "word", "a=b"),
        ("maybe=none", "maybe", None),
        ("maybe=a,b", "maybe", "a,b"),
        ("number=None", "number", None),
        ("number=4", "number", 4),
        ("word=none", "word", "none"),
        ("kind=b", "kind", "b"),
        ("many=F16,Q8_0", "many", ["F16", "Q8_0"]),
        ("many=F16", "many", ["F16"]),
        ("many= a , b ,", "many", ["a", "b"]),
        ("many=", "many", []),
        ("many=[a, no, 'x,y']", "many", ["a", "no", "x,y"]),
        ("pair=1,2", "pair", (1, 2)),
        ("pair=none", "pair", None),
        ("table={a: 1, b: 2}", "table", {"a": 1, "b": 2}),
        ("table.a=1", "table", {"a": 1}),
    ],
)
def test_text_is_converted_by_the_options_type(pair, name, value):
    assert getattr(made(pair), name) == value


def test_dots_nest_and_later_pairs_win():
    assert parse_assignments(["a.b=1", "a.c.d=2", "e=3", "e=4", "a.b=5"]) == {"a": {"b": "5", "c": {"d": "2"}}, "e": "4"}


@pytest.mark.parametrize("pair", ["a", "=1", "", ".a=1", "a.=1", "a..b=1"])
def test_a_text_that_is_no_assignment_is_refused(pair):
    with pytest.raises(ConfigError, match="not of the form name=value"):
        parse_assignments([pair])


def test_a_value_cannot_be_a_table_too():
    with pytest.raises(ConfigError, match="'a' is already set"):
        parse_assignments(["a=1", "a.b=2"])


@pytest.mark.parametrize("pair", ["many=[a", "table={a: &x 1}", "table={a: !!python/name:os.system x}"])
def test_a_value_that_starts_like_yaml_and_is_none_is_refused(pair):
    with pytest.raises(ConfigError, match="starts like YAML but is not"):
        parse_assignments([pair])


@settings(deadline=None)
@given(st.lists(st.text(), max_size=3))
def test_any_texts_are_options_or_a_sentence(pairs):
    try:
        assert isinstance(parse_assignments(pairs), dict)
    except ConfigError as error:
        assert str(error)  # noqa: PT017 - either is right


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rat": 1}, r"metric 'everything' has no option 'rat'\. Did you mean 'rate'\? Its options are: rate, rows"),
        ({"rate": 3}, r"metric 'everything' option 'rate': input should be less than or equal to 2, not 3\."),
        ({"rate": "fast"}, r"option 'rate': input should be a valid number.*, not 'fast'\."),
        ({"kind": "c"}, r"option 'kind': input should be 'a' or 'b', not 'c'\."),
        ({"word": "LOUD"}, r"option 'word': must not be loud, not 'LOUD'\."),
        ({"word": 3}, r"option 'word': input should be a valid string, not 3\."),
        ({"rows": 13}, r"metric 'everything': 13 rows bring bad luck\."),
        ({"pair": "1,b"}, r"option 'pair\.1': "),
        ({"rate": 3, "kind": "c"}, r"option 'rate': .* option 'kind': "),
    ],
)
def test_a_wrong_option_is_named_with_what_it_should_be(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        configure(Everything, options, kind="metric")


def test_a_missing_option_is_named_with_its_description():
    with pytest.raises(ConfigError, match=r"^teacher 'needy' needs the option 'model': The model to ask\.$"):
        configure(Needy, {}, kind="teacher")


def test_a_backend_without_options_says_so():
    class Bare(Metric):
        """Is told nothing."""

        name: ClassVar[str] = "bare"

        def score(self, prompt, answer):
            return 1.0

    with pytest.raises(ConfigError, match=r"has no option 'a'\. It has no options\."):
        configure(Bare, {"a": 1}, kind="metric")


def test_what_is_pasted_where_a_variables_name_belongs_is_never_repeated():
    with pytest.raises(ConfigError, match="token_env") as caught:
        made("token_env=sk-12345")
    assert "sk-12345" not in str(caught.value)


class Shy(Metric):
    """Never repeats what it was given."""

    model_config = ConfigDict(hide_input_in_errors=True)
    name: ClassVar[str] = "shy"
    address: int = Field(0, description="An address.")

    def score(self, prompt, answer):
        return 1.0


class Outer(Metric):
    """Holds a metric that never repeats what it was given."""

    name: ClassVar[str] = "outer"
    inner: Shy | None = Field(None, description="A metric.")
    number: int = Field(0, description="A number.")

    def score(self, prompt, answer):
        return 1.0


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (Shy, {"address": "https://h/sk-12345"}),
        (Outer, {"inner": {"address": "sk-12345"}}),
        (Outer, {"number": "https://user:sk-12345@host/v1"}),
        (Outer, {"number": "https://host/v1?api_key=sk-12345"}),
        (Outer, {"number": "https://host/v1?key=sk-12345"}),
        (Outer, {"number": {"password": "sk-12345"}}),
    ],
)
def test_a_refused_value_that_may_hold_a_secret_is_not_repeated(cls, options):
    with pytest.raises(ConfigError, match="option") as caught:
        configure(cls, options, kind="metric")
    assert "sk-12345" not in str(caught.value)
    with pytest.raises(ConfigError, match="not 'fast'"):
        configure(Outer, {"number": "fast"}, kind="metric")


def test_every_option_is_described_with_type_default_and_bounds():
    rows = {row["name"]: row for row in describe(Everything)}
    assert rows["rate"] == {
        "name": "rate", "type": "float", "default": 1.0, "required": False, "bounds": "<= 2, > 0",
        "description": "A rate.", "in_key": True,
    }  # fmt: skip
    assert rows["kind"]["bounds"] == "one of a, b"
    assert rows["maybe"]["type"] == "str | None"
    assert rows["many"]["default"] == []
    assert rows["table"]["in_key"] is False
    assert describe(Needy)[0]["required"] is True


class Deep(BaseModel):
    """A model that is an option's value."""

    count: int = Field(ge=1, description="How many.")
    kind: Literal["a", "b"] = "a"


class Deeper(Metric):
    """Takes a table and another backend."""

    name: ClassVar[str] = "deeper"
    deep: Deep | None = Field(None, description="A table.", json_schema_extra={"key": False})
    judge: Needy | None = None

    def score(self, prompt, answer):
        return 1.0


def test_the_options_of_an_option_are_described_after_it_and_a_backends_are_not():
    rows = describe(Deeper)
    assert [row["name"] for row in rows] == ["deep", "deep.count", "deep.kind", "judge"]
    assert (rows[0]["type"], rows[1]["bounds"], rows[1]["required"], rows[1]["in_key"]) == (
        "table",
        "needed, >= 1",
        False,
        False,
    )
    assert rows[2]["bounds"] == "one of a, b"


class Picky(Metric):
    """Says itself what is wrong with an item."""

    name: ClassVar[str] = "picky"
    quants: tuple[str, ...] = Field((), description="Names.")

    @field_validator("quants")
    @classmethod
    def _known(cls, value):
        raise ValueError(f"{value[-1]!r} is none. Known: a.")

    def score(self, prompt, answer):
        return 1.0


def test_a_reason_that_names_what_is_wrong_is_said_once_and_ends_once():
    with pytest.raises(ConfigError) as caught:
        configure(Picky, {"quants": "a,c"}, kind="metric")
    assert str(caught.value) == "metric 'picky' option 'quants': 'c' is none. Known: a."
