from __future__ import annotations

from typing import Any

import pytest
from pillm_llamacpp.inference.outcomes import Reader
from pillm_llamacpp_tiny import request

import pillm

RESULT: dict[str, Any] = {"text": "oui", "ids": [5, 2], "finish": "stop", "prompt_tokens": 7, "cached": 3, "seconds": 0.5,
                          "first": 0.1, "logprobs": [[(5, -0.1)], [(2, -0.2)]]}  # fmt: skip


def test_a_result_becomes_an_answer_with_all_that_is_known() -> None:
    said = Reader(model="m", tokenizer="t", logprobs=1).outcome(request(), RESULT)
    assert isinstance(said, pillm.Answer)
    assert (said.content, said.token_ids, said.model, said.tokenizer_hash) == ("oui", (5, 2), "m", "t")
    assert said.logprobs == (((5, -0.1),), ((2, -0.2),))
    assert said.usage == pillm.Usage(prompt_tokens=7, completion_tokens=2, cached_tokens=3)
    plain = Reader(model="m", tokenizer="t").outcome(request(), RESULT)
    assert isinstance(plain, pillm.Answer)
    assert plain.logprobs is None


def test_what_a_grammar_held_is_checked_once_more_and_not_taken_apart() -> None:
    reader = Reader(model="m", tokenizer=None, constrain=True)
    asked = request(schema={"type": "string"})
    assert reader.grammar(asked) == reader.grammar(request(number=2, schema={"type": "string"}))
    assert reader.grammar(request()) is None
    said = reader.outcome(asked, {**RESULT, "text": '"<think>no</think>"'})
    assert isinstance(said, pillm.Answer)
    assert said.content == '"<think>no</think>"'
    cut = reader.outcome(asked, {**RESULT, "text": '"ou', "finish": "length"})
    assert isinstance(cut, pillm.Failure)
    assert "it ended by length after 2 tokens" in cut.message


def test_schemas_that_come_and_go_are_never_taken_for_each_other() -> None:
    reader = Reader(model="m", tokenizer=None, constrain=True)
    for number in range(150):  # more than are remembered, at addresses that are used again
        asked = request(number=number, schema={"const": number})
        assert f'"{number}"' in str(reader.grammar(asked))
        assert isinstance(reader.outcome(asked, {**RESULT, "text": str(number)}), pillm.Answer)
        assert isinstance(reader.outcome(asked, {**RESULT, "text": str(number + 1)}), pillm.Failure)


def test_what_was_refused_is_a_failure_and_an_impossible_schema_an_error() -> None:
    reader = Reader(model="m", tokenizer=None, constrain=True)
    assert reader.outcome(request(), {"refused": "too long"}) == pillm.Failure("invalid", "too long")
    with pytest.raises(pillm.ConfigError, match="row-0"):
        reader.grammar(request(schema={"not": {"const": 1}}))
