"""Templates: they show what a row holds, and nothing that a stranger writes into one runs, fills the memory or never ends."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pillm
from pillm.templates import MAX_ITEMS, MAX_TEXT, Template

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def shown(text: str, **values: Any) -> str:
    """Render a template."""
    return Template(text, "task.yaml: input").render(values, "t.csv:2")


@pytest.mark.parametrize(
    ("text", "values", "wanted"),
    [
        ("{{ a }} and {{ b }}", {"a": "<é>", "b": 2}, "<é> and 2"),
        ("{{ a }}|{{ b }}|{{ c }}", {"a": None, "b": True, "c": {"k": ["é"]}}, '|true|{"k": ["é"]}'),
        ("{{ row['a name'] }}", {"a name": "x"}, "x"),
        ("{{ a.b[0].c }}", {"a": {"b": [{"c": "x"}]}}, "x"),
        ("{% if a %}yes{% else %}no{% endif %}", {"a": ""}, "no"),
        ("{{ 'x' if a == 'y' else 'z' }}", {"a": "y"}, "x"),
        ("{% for item in a %}{{ loop.index }}.{{ item|upper }} {% endfor %}", {"a": ["p", "q"]}, "1.P 2.Q "),
        ("{{ a|join(', ') }} {{ a|length }}", {"a": ["p", "q"]}, "p, q 2"),
        ("{{ b|default('none') }}", {}, "none"),
        ("{{ a|trim|replace('-', '+') }}", {"a": " 1-2 "}, "1+2"),
        ("{{ a|round(2) }} {{ a|round }} {{ b|json }}", {"a": 2.346, "b": "é"}, '2.35 2 "é"'),
        ("{{ a[:3] }}", {"a": "abcdef"}, "abc"),
        ("{% if a is defined and a in ['x', 'y'] %}in{% endif %}", {"a": "x"}, "in"),
        ("{{ '{{' }} {{ a }}", {"a": "{{ b }}"}, "{{ {{ b }}"),
    ],
)
def test_a_template_shows_what_the_row_holds(text: str, values: dict[str, Any], wanted: str) -> None:
    assert shown(text, **values) == wanted


def test_a_template_knows_the_columns_that_it_asks_for() -> None:
    assert Template("{{ a }}{% for b in c %}{{ b.d }}{% endfor %}{{ row['e'] }}", "x").columns == {"a", "c"}
    assert Template("{% for a in b %}{{ loop.index }}{% endfor %}", "x").columns == {"b"}
    optional = "{{ a|default('') }}{% if b is defined and b %}{{ b }}{% endif %}{{ c }}"
    assert Template(optional, "x").columns == {"c"}, "what a template provides for may be absent"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ a", "line 1"),
        ("x\n{% if %}", "line 2"),
        ("{{ a|upperr }}", "no filter is called 'upperr'. Did you mean 'upper'"),
        ("{{ a|attr('x') }}", "no filter is called 'attr'"),
        ("{{ a|_bounded }}", "no filter is called '_bounded'"),
        ("{{ a is callable }}", "no test is called 'callable'"),
        ("{{ range(9) }}", "'call' is not for it"),
        ("{{ a.upper() }}", "'call' is not for it"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "'call' is not for it"),
        ("{{ 'x' * 1000000000 }}", "'mul' is not for it"),
        ("{{ 2 ** 1000000000 }}", "'pow' is not for it"),
        ("{{ '%1000000000d' % 1 }}", "'mod' is not for it"),
        ("{{ a ~ a }}", "'concat' is not for it"),
        ("{{ a + a }}", "'add' is not for it"),
        ("{% set b = a %}", "'assign' is not for it"),
        ("{% include 'x' %}", "'include' is not for it"),
        ("{% import 'x' as y %}", "'import' is not for it"),
        ("{% macro m() %}{% endmacro %}", "'macro' is not for it"),
        ("{% for a in x recursive %}{% endfor %}", "at most 2 deep"),
        ("{% for a in x %}{% for b in x %}{% for c in x %}{% endfor %}{% endfor %}{% endfor %}", "at most 2 deep"),
        ("x" * 70_000, "longer than 64 KiB"),
    ],
)
def test_what_a_template_may_not_say_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(pillm.ConfigError, match=r"^task\.yaml: input") as caught:
        Template(text, "task.yaml: input")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "values", "said"),
    [
        ("{{ b }}", {"a": 1}, "'b' is undefined. The row has: a."),
        ("{{ a.b.c }}", {"a": {}}, "has no attribute 'b'"),
        ("{{ a < 3 }}", {"a": "x"}, "'<' not supported"),
        ("{{ a.__class__.__mro__ }}", {"a": ""}, "unsafe"),
        ("{% for x in a %}.{% endfor %}", {"a": "x" * (MAX_ITEMS + 1)}, "more than 1000 items"),
        ("{{ a }}{{ a }}", {"a": "x" * (MAX_TEXT // 2 + 1)}, "longer than 1 MiB"),
        ("{{ a|replace('x', b) }}", {"a": "x" * 2000, "b": "y" * 2000}, "longer than 1 MiB"),
        ("{{ a|round(999999999, 'ceil') }}", {"a": 1.5}, "takes from 1 to 2 positional arguments"),
        ("{{ a|join(b) }}", {"a": "x" * 900, "b": "y" * 2000}, "longer than 1 MiB"),
    ],
)
def test_a_row_that_does_not_fit_its_template_is_refused_with_both_places(text: str, values: dict[str, Any], said: str) -> None:
    with pytest.raises(pillm.DataError, match=r"^t\.csv:2: task\.yaml: input: ") as caught:
        shown(text, **values)
    assert said in str(caught.value)


def test_the_dearest_template_that_is_allowed_ends_soon() -> None:
    text = "{% for a in x %}{% for b in x %}{% if a == b %}{% endif %}{% endfor %}{% endfor %}"
    began = time.monotonic()
    shown(text, x=["x" * 1000] * MAX_ITEMS)
    seconds = time.monotonic() - began
    print(f"two loops over {MAX_ITEMS} items: {seconds:.2f} s")
    assert seconds < 20


@given(st.text(st.sampled_from("{}%ab |.[]()'\"~*+-=ifor end0"), max_size=60), st.dictionaries(st.sampled_from("ab"), JSON))
def test_no_template_and_no_row_is_more_than_a_sentence(text: str, values: dict[str, Any]) -> None:
    with suppress(pillm.ConfigError, pillm.DataError):
        Template(text, "t").render(values)


@given(st.dictionaries(st.sampled_from("ab"), st.text(), min_size=2))
def test_text_stands_in_the_result_as_it_is(values: dict[str, str]) -> None:
    assert Template("{{ a }}|{{ b }}", "t").render(values) == f"{values['a']}|{values['b']}"


def test_jinja_is_loaded_by_whoever_asks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, pillm.templates; print('jinja2' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "False"
