"""How long a data set's requests are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pillm.artifacts import Evaluation, Lengths
from pillm.contract import Contract
from pillm.lengths import SAMPLE, counted_lengths, row_lengths
from pillm.records import Prompt, Reference
from pillm.tokencounter import TokenCounter

RECKONING = TokenCounter(Contract())


def row(number: int, *, user: int = 40, answer: int = 80, system: str = "s" * 400) -> Prompt:
    """Return a row of so many characters."""
    messages = ({"role": "system", "content": system}, {"role": "user", "content": "u" * user})
    told = Reference(message={"role": "assistant", "content": "a" * answer}) if answer else None
    return Prompt(id=str(number), messages=messages, reference=told)


def test_lengths_are_those_of_a_middling_row() -> None:
    found = row_lengths([row(1), row(2, user=4000, answer=8000), row(3)], RECKONING).typical
    assert found is not None
    assert (found.prompt, found.answer, found.prefix, found.estimated) == (124, 20, 105, True), "with what a template adds"


def test_the_longest_row_counts_with_its_answer_where_that_is_known() -> None:
    rows = [row(number) for number in range(3 * SAMPLE)]
    assert row_lengths([*rows[:5], row(9, user=4000, answer=8000), *rows], RECKONING).longest == 3114
    assert row_lengths([row(1, user=41, answer=0)], RECKONING).longest == 125, "rounded up"
    assert row_lengths([], RECKONING).longest == 0


def test_of_many_rows_some_are_counted_that_stand_evenly_among_them() -> None:
    class Counting(TokenCounter):
        seen = 0

        def prompts(self, rows: Sequence[Prompt]) -> list[int]:
            self.seen = max(self.seen, len(rows))
            return super().prompts(rows)

    counter = Counting(Contract())
    rows = [row(number, user=40 if number < 1500 else 400) for number in range(2000)]
    found = row_lengths(rows, counter).typical
    assert found is not None
    assert (found.prompt, SAMPLE // 2 < counter.seen <= SAMPLE) == (124, True)


def test_rows_of_several_systems_share_no_prefix() -> None:
    found = row_lengths([row(1), row(2, system="other")], RECKONING).typical
    assert found is not None
    assert found.prefix == 0


def test_nothing_is_told_where_no_answer_is_known() -> None:
    assert row_lengths([row(1, answer=0)], RECKONING).typical is None
    assert row_lengths([], RECKONING).typical is None


def test_tool_calls_are_a_part_of_the_answer() -> None:
    call = {"type": "function", "function": {"name": "light", "arguments": "x" * 400}}
    told = Reference(message={"role": "assistant", "content": None, "tool_calls": [call]})
    row_ = Prompt(id="1", messages=({"role": "user", "content": "on"},), reference=told)
    found = row_lengths([row_], RECKONING).typical
    assert found is not None
    assert found.answer > 100


COUNTED = Evaluation(subject="s.gguf", kind="model", set="test", rows=3, metrics={}, prompt_tokens=40.5, completion_tokens=0.4)
RECKONED = Lengths(prompt=60, answer=9, prefix=50, estimated=True)


def test_what_the_file_counted_outweighs_what_was_reckoned() -> None:
    assert counted_lengths([COUNTED], "s.gguf", None) == Lengths(prompt=40, answer=1)
    found = counted_lengths([COUNTED], "s.gguf", RECKONED)
    assert found == Lengths(prompt=40, answer=1, prefix=40, estimated=True), "no file counts the prefix"
    exact = replace(RECKONED, estimated=False)
    assert counted_lengths([COUNTED], "s.gguf", exact) == Lengths(prompt=40, answer=1, prefix=40)


def test_another_subject_or_one_that_counts_nothing_says_nothing() -> None:
    others = [replace(COUNTED, subject="other.gguf"), replace(COUNTED, kind="teacher"), replace(COUNTED, prompt_tokens=None)]
    assert counted_lengths(others, "s.gguf", RECKONED) is RECKONED
    assert counted_lengths([], "s.gguf", None) is None
