"""Traces: told apart from the answer, kept, stripped, shortened to a budget, and spoken again for training."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.errors import ConfigError
from pillm.reasoning import count_tokens, reasoning_policy, shaped, shortened, split_reasoning, spoken
from pillm.records import Answer

STEPS = st.lists(st.text("abcé ,", min_size=1, max_size=30).filter(str.strip), min_size=1, max_size=12)
TRACES = STEPS.flatmap(lambda steps: st.sampled_from([". ", ".\n", "\n\n", "! "]).map(lambda end: end.join(steps)))
COUNTERS: list[Callable[[str], int]] = [count_tokens, len, lambda text: len(text.encode()) // 3 + 1]


@pytest.mark.parametrize(
    ("text", "content", "reasoning"),
    [
        ("<think>\nhm\n</think>\n\nYes.", "Yes.", "hm"),
        ("hm\n</think>\n\nYes.", "Yes.", "hm"),
        ("<reasoning>a < b</reasoning>{}", "{}", "a < b"),
        ("<thinking>hm</thinking>Yes.", "Yes.", "hm"),
        ("<|begin_of_thought|>\nhm\n<|end_of_thought|>\n<|begin_of_solution|>\n4\n<|end_of_solution|>", "4", "hm"),
        ("<think>one</think>\n<think>two</think>\nYes.", "Yes.", "one\n\ntwo"),
        ("<think>\n\n</think>\n\nYes.", "Yes.", None),
        ("<think>never ends", "", "never ends"),
        ("The tag <think> opens a thought.", "The tag <think> opens a thought.", None),
        ("Yes.\n", "Yes.\n", None),
        ("", "", None),
    ],
)
def test_a_trace_at_the_start_is_told_apart(text: str, content: str, reasoning: str | None) -> None:
    assert split_reasoning(text) == (content, reasoning)


@settings(deadline=None)
@given(st.text() | st.text("<>/think|begin_of solution\n"))
def test_splitting_invents_nothing(text: str) -> None:
    content, reasoning = split_reasoning(text)
    assert content in text
    assert reasoning is None or all(part in text for part in reasoning.split("\n\n"))


@settings(deadline=None)
@given(st.text("ab <\n", max_size=20).map(str.strip), st.text("ab <\n", max_size=20).map(str.lstrip))
def test_what_is_spoken_is_told_apart_again(reasoning: str, content: str) -> None:
    said = spoken(Answer(content, reasoning=reasoning or None))
    assert split_reasoning(said["content"]) == (content, reasoning or None)
    assert "reasoning" not in said


def test_tool_calls_are_spoken_with_their_trace() -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert spoken(Answer("", reasoning="hm", tool_calls=(call,))) == {
        "role": "assistant", "content": "<think>\nhm\n</think>\n\n", "tool_calls": [call],
    }  # fmt: skip


@settings(deadline=None)
@given(TRACES, st.integers(1, 60), st.sampled_from(COUNTERS))
def test_a_shortened_trace_keeps_the_budget_and_whole_steps_in_their_order(
    trace: str, budget: int, count: Callable[[str], int]
) -> None:
    kept = shortened(trace, budget, count)
    if count(trace) <= budget:
        assert kept == trace
    elif kept is not None:
        assert count(kept) <= budget
        at = 0
        for word in kept.split():
            at = trace.index(word, at) + len(word)


def test_the_start_and_the_conclusion_stay_and_the_middle_goes() -> None:
    trace = "We want 6 x 7. " + "Let me try another way, just to see. " * 40 + "So it is 42."
    kept = shortened(trace, 40)
    assert kept is not None
    assert kept.startswith("We want 6 x 7. Let me try")
    assert kept.endswith("So it is 42.")


def test_a_budget_below_the_conclusion_leaves_no_trace() -> None:
    assert shortened("One. " * 10 + "And that is why the answer must be forty-two.", 3) is None


def test_an_abbreviated_trace_ends_no_step_in_a_number_or_a_quotation() -> None:
    assert shortened('He said "3.14 it is." Then more and more and more words. Done.', 10) == 'He said "3.14 it is." Done.'


def test_keeping_changes_nothing_and_stripping_leaves_out_what_belongs_to_the_whole_text() -> None:
    answer = Answer("42", reasoning="hm", token_ids=(1, 2), logprobs=(((1, -0.1),), ((2, -0.2),)), tokenizer_hash="x", raw=b"r")
    assert shaped(answer, "keep") is answer
    assert shaped(answer, 100) is answer
    stripped = shaped(answer, "strip")
    assert (stripped.content, stripped.reasoning, stripped.raw) == ("42", None, b"r")
    assert (stripped.token_ids, stripped.logprobs, stripped.tokenizer_hash) == (None, None, None)
    plain = Answer("42", token_ids=(1,))
    assert shaped(plain, "strip") is plain


def test_an_option_names_the_policy() -> None:
    assert [reasoning_policy(value) for value in ("keep", "strip", "300", 300)] == ["keep", "strip", 300, 300]


@pytest.mark.parametrize("value", ["", "short", "0", -1, "1.5", True])
def test_another_word_is_refused_with_the_words_there_are(value: str | int) -> None:
    with pytest.raises(ConfigError, match="keep, strip"):
        reasoning_policy(value)
