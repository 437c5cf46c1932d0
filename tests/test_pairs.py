"""Preference pairs: what is better than what, and rows as TRL, OpenAI and LLaMA-Factory read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.choosing import Candidate
from pillm.errors import DataError
from pillm.records import Answer, Message, Prompt
from pillm.stages.pairs import PAIR_FORMATS, PairFormat, PreferencePair, dataset_info, pair_to_row, pairs_of, write_pairs

SYSTEM: Message = {"role": "system", "content": "Be brief."}
ASK: Message = {"role": "user", "content": "Heure ?"}
TOOL = {"type": "function", "function": {"name": "light", "parameters": {"type": "object"}}}
CALL = {"id": "1", "type": "function", "function": {"name": "light", "arguments": '{"on": true}'}}
CANDIDATES = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", " a", ""]), st.booleans(), st.none() | st.floats(0, 1)), max_size=8
).map(lambda rows: [one(number, *row) for number, row in enumerate(rows)])


def row(*messages: Message, **fields: Any) -> Prompt:
    return Prompt(id="r", messages=messages or (ASK,), **fields)


def one(number: int, text: str, accepted: bool = True, score: float | None = None) -> Candidate:
    return Candidate(number=number, answer=Answer(text), accepted=accepted, score=score)


def texts(*candidates: Candidate, **how: Any) -> list[tuple[str, str]]:
    return [(pair.chosen.content, pair.rejected.content) for pair in pairs_of(row(), candidates, **how)]


def pair(*messages: Message, chosen: Answer | None = None, **fields: Any) -> PreferencePair:
    return PreferencePair(prompt=row(*messages, **fields), chosen=chosen or Answer("midi"), rejected=Answer("quoi ?"))


def test_an_accepted_answer_is_better_than_a_refused_one() -> None:
    assert texts(one(0, "bad", accepted=False), one(1, "good")) == [("good", "bad")]
    assert texts(one(0, "good"), one(1, "fine")) == [], "nobody said which of two accepted answers is better"
    assert texts(one(0, "bad", accepted=False), one(1, "worse", accepted=False)) == []


def test_of_two_accepted_answers_the_higher_score_is_better_by_the_margin() -> None:
    found = pairs_of(row(), [one(0, "low", score=0.25), one(1, "high", score=1.0), one(2, "mid", score=0.75)])
    assert [(pair.samples, pair.margin) for pair in found] == [((1, 0), 0.75)]
    assert texts(one(0, "low", score=0.25), one(1, "high", score=0.75), min_margin=0.6) == []
    assert texts(one(0, "x", score=0.5), one(1, "y", score=0.5)) == []


def test_the_clearest_pairs_come_first_and_no_rejected_answer_serves_twice() -> None:
    samples = [one(0, "bad", accepted=False), one(1, "low", score=0.0), one(2, "high", score=1.0), one(3, "mid", score=0.5)]
    assert texts(*samples, per_prompt=9) == [("high", "bad"), ("high", "low"), ("high", "mid")]
    assert texts(*samples, per_prompt=2) == [("high", "bad"), ("high", "low")]


def test_answers_that_say_the_same_and_empty_ones_make_no_pair() -> None:
    assert texts(one(0, "same  words"), one(1, "same words", accepted=False), one(2, " ", accepted=False)) == []
    schema_row = row(schema={"type": "object"})
    assert pairs_of(schema_row, [one(0, '{"a": 1}'), one(1, 'Sure: {"a":1}', accepted=False)]) == []


@settings(deadline=None)
@given(CANDIDATES, st.integers(1, 4), st.floats(0, 1))
def test_every_pair_is_one_that_the_verdicts_support(candidates: list[Candidate], per_prompt: int, min_margin: float) -> None:
    found = pairs_of(row(), candidates, per_prompt=per_prompt, min_margin=min_margin)
    assert len(found) <= per_prompt
    assert len({pair.samples[1] for pair in found}) == len(found)
    for made in found:
        better, worse = (candidates[number] for number in made.samples)
        assert better.accepted
        assert better.answer.content.strip() != worse.answer.content.strip()
        if worse.accepted:
            assert better.score is not None
            assert worse.score is not None
            assert better.score - worse.score == made.margin
            assert made.margin >= min_margin
            assert made.margin > 0


def test_a_trl_row_has_an_explicit_prompt_and_two_completions_as_messages() -> None:
    assert pair_to_row(pair(SYSTEM, ASK), "trl") == {
        "prompt": [SYSTEM, ASK],
        "chosen": [{"role": "assistant", "content": "midi"}],
        "rejected": [{"role": "assistant", "content": "quoi ?"}],
    }
    assert pair_to_row(pair(ASK, tools=(TOOL,)), "trl")["tools"] == [TOOL]


def test_an_openai_row_has_an_input_and_two_outputs() -> None:
    assert pair_to_row(pair(SYSTEM, ASK), "openai") == {
        "input": {"messages": [SYSTEM, ASK], "tools": [], "parallel_tool_calls": True},
        "preferred_output": [{"role": "assistant", "content": "midi"}],
        "non_preferred_output": [{"role": "assistant", "content": "quoi ?"}],
    }


def test_an_alpaca_row_has_the_last_question_and_the_turns_before_it() -> None:
    said: Message = {"role": "assistant", "content": "Bonjour !"}
    assert pair_to_row(pair(SYSTEM, {"role": "user", "content": "Salut"}, said, ASK), "alpaca") == {
        "instruction": "Heure ?", "input": "", "chosen": "midi", "rejected": "quoi ?", "system": "Be brief.",
        "history": [["Salut", "Bonjour !"]],
    }  # fmt: skip


def test_a_sharegpt_row_ends_its_conversation_with_the_asking_side() -> None:
    result: Message = {"role": "tool", "tool_call_id": "1", "content": "on"}
    called: Message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    made = pair(ASK, called, result, tools=(TOOL,), chosen=Answer("", tool_calls=(CALL,)))
    found = pair_to_row(made, "sharegpt")
    assert [turn["from"] for turn in found["conversations"]] == ["human", "function_call", "observation"]
    assert found["chosen"] == {"from": "function_call", "value": '[{"name": "light", "arguments": "{\\"on\\": true}"}]'}
    assert found["rejected"] == {"from": "gpt", "value": "quoi ?"}
    assert (found["system"], json.loads(found["tools"])) == ("", [TOOL["function"]])


@pytest.mark.parametrize(
    ("made", "form", "what"),
    [
        (pair(ASK, tools=(TOOL,)), "alpaca", "tools"),
        (pair(ASK, chosen=Answer("", tool_calls=(CALL,))), "alpaca", "tools"),
        (pair(ASK, ASK), "alpaca", "turns"),
        (pair(ASK, ASK), "sharegpt", "two turns"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_with_those_that_can(made: PreferencePair, form: PairFormat, what: str) -> None:
    with pytest.raises(DataError, match=rf"'r'.*{what}.*trl or openai"):
        pair_to_row(made, form)


@pytest.mark.parametrize("form", PAIR_FORMATS)
def test_a_trace_is_within_the_content_and_all_rows_of_a_file_have_the_same_columns(form: PairFormat) -> None:
    thinking = pair_to_row(pair(SYSTEM, ASK, chosen=Answer("midi", reasoning="hm")), form)
    assert "<think>\\nhm\\n</think>\\n\\nmidi" in json.dumps(thinking)
    assert "reasoning" not in json.dumps(thinking)
    assert set(thinking) == set(pair_to_row(pair(ASK), form))


@pytest.mark.parametrize("form", ["alpaca", "sharegpt"])
def test_the_entry_for_llama_factory_names_columns_that_the_rows_have(form: PairFormat) -> None:
    info = dataset_info("pairs.jsonl", form)
    assert info is not None
    assert (info["file_name"], info["ranking"]) == ("pairs.jsonl", True)
    assert set(info["columns"].values()) == set(pair_to_row(pair(ASK), form))
    assert dataset_info("pairs.jsonl", "trl") is None


def test_pairs_are_written_as_lines_and_what_has_no_room_is_counted(tmp_path: Path) -> None:
    rows = [
        (row(), [one(0, "good"), one(1, "bad", accepted=False)]),
        (row(tools=(TOOL,)), [one(0, "good"), one(1, "bad", accepted=False)]),
        (row(), [one(0, "good")]),
    ]
    counts = write_pairs(rows, tmp_path / "pairs.jsonl", "alpaca")
    assert (counts.prompts, counts.paired, counts.pairs, counts.unwritable) == (3, 2, 1, 1)
    (line,) = (tmp_path / "pairs.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line)["chosen"] == "good"
