"""How long a data set's requests are."""

from __future__ import annotations

from dataclasses import replace

from pillm.artifacts import Evaluation, Lengths
from pillm.devices.lengths import lengths_of, typical_lengths
from pillm.records import Prompt, Reference


def row(number: int, *, user: int = 40, answer: int = 80, system: str = "s" * 400) -> Prompt:
    """Return a row of so many characters."""
    messages = ({"role": "system", "content": system}, {"role": "user", "content": "u" * user})
    told = Reference(message={"role": "assistant", "content": "a" * answer}) if answer else None
    return Prompt(id=str(number), messages=messages, reference=told)


def test_lengths_are_those_of_a_middling_row() -> None:
    found = typical_lengths([row(1), row(2, user=4000, answer=8000), row(3)])
    assert found is not None
    assert (found.prompt, found.answer, found.prefix, found.estimated) == (110, 20, 100, True)


def test_rows_of_several_systems_share_no_prefix() -> None:
    found = typical_lengths([row(1), row(2, system="other")])
    assert found is not None
    assert found.prefix == 0


def test_nothing_is_told_where_no_answer_is_known() -> None:
    assert typical_lengths([row(1, answer=0)]) is None
    assert typical_lengths([]) is None


def test_tool_calls_are_a_part_of_the_answer() -> None:
    call = {"type": "function", "function": {"name": "light", "arguments": "x" * 400}}
    told = Reference(message={"role": "assistant", "content": None, "tool_calls": [call]})
    found = typical_lengths([Prompt(id="1", messages=({"role": "user", "content": "on"},), reference=told)])
    assert found is not None
    assert found.answer > 100


def test_what_a_subject_was_scored_on_is_counted_in_tokens() -> None:
    one = Evaluation(subject="a.gguf", kind="model", set="test", rows=9, metrics={}, prompt_tokens=41.5, completion_tokens=7.0)
    found = lengths_of([replace(one, subject="b.gguf"), one], "a.gguf")
    assert found == Lengths(prompt=42, answer=7)
    assert lengths_of([replace(one, prompt_tokens=None)], "a.gguf") is None
