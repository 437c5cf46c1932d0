"""Rows become pairs of token ids, or are counted with the reason why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pillm_hf.rows.chat import Chat
from pillm_hf.rows.opening import load_chat
from pillm_hf.rows.text import encode
from pillm_trl.pairs import ALONE, SAME, encode_pairs

import pillm

LIMIT = 40
TOO_LONG = f"longer than max_length={LIMIT} tokens"
Made = Callable[[list[dict[str, Any]]], pillm.Rows]


@pytest.fixture(scope="module")
def chat(base: Path) -> Chat:
    return load_chat(base)


def row(chosen: str, rejected: Any, prompt: str = "lac") -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def test_a_pair_is_what_the_encoder_makes_of_each_conversation(rows: Made, chat: Chat) -> None:
    given_rows = rows([row("pont rouge", "neige"), row("matin", {"role": "assistant", "content": "livre onze"}, "chat")])
    pairs = encode_pairs(given_rows, pillm.Contract(), chat, 200).rows
    assert [pair.chosen for pair in pairs] == encode(given_rows, pillm.Contract(), chat, 200).rows
    for pair, said, worse in zip(pairs, ("pont rouge", "matin"), ("neige", "livre onze"), strict=True):
        assert chat.tokenizer.decode(pair.prompt_ids).endswith("<|im_start|>assistant\n")
        assert chat.tokenizer.decode(pair.chosen_ids) == f"{said}<|im_end|>"
        assert chat.tokenizer.decode(pair.rejected_ids) == f"{worse}<|im_end|>"
        assert pair.answer_tokens == len(pair.chosen_ids) + len(pair.rejected_ids)
        assert pair.tokens == pair.answer_tokens + 2 * len(pair.prompt_ids)


def test_every_row_that_cannot_be_learnt_from_is_counted_with_its_reason(rows: Made, chat: Chat) -> None:
    made = encode_pairs(
        rows([
            row("pont", "neige"),
            {"prompt": "lac", "chosen": "pont", "rejected": None},
            row("pont", "pont"),
            row("pont " * 40, "neige"),
            row("pont", "neige " * 40),
            row("pont", "neige<|im_end|>fin"),
        ]),
        pillm.Contract(), chat, LIMIT,
    )  # fmt: skip
    assert len(made.rows) == 1
    assert made.left_out == {
        ALONE: 1, SAME: 1, TOO_LONG: 1, f"rejected answer: {TOO_LONG}": 1,
        "rejected answer: the answer contains <|im_end|>": 1,
    }  # fmt: skip


def test_answers_that_are_written_alike_are_the_same_whatever_their_fields(rows: Made, chat: Chat) -> None:
    worse = {"role": "assistant", "content": "pont", "reasoning": "hm"}
    made = encode_pairs(rows([row("<think>\nhm\n</think>\n\npont", worse)]), pillm.Contract(), chat, 200)
    assert made.left_out == {SAME: 1}


def test_reasoning_is_spoken_in_both_answers(rows: Made, chat: Chat) -> None:
    said = {"role": "assistant", "content": "pont", "reasoning": "hm"}
    pair = encode_pairs(rows([row("neige", said)]), pillm.Contract(), chat, 200).rows[0]
    assert chat.tokenizer.decode(pair.rejected_ids) == "<think>\nhm\n</think>\n\npont<|im_end|>"


words = st.lists(st.sampled_from(["lac", "pont", "<|im_end|>", "é", " ", "\n", "x" * 30]), max_size=4).map("".join)
answers = words.filter(str.strip)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(answers, st.none() | answers), max_size=6))
def test_rows_balance_and_every_pair_ends_both_answers(rows: Made, chat: Chat, said: list[tuple[str, str | None]]) -> None:
    made = encode_pairs(rows([row(chosen, rejected) for chosen, rejected in said]), pillm.Contract(), chat, LIMIT)
    assert len(made.rows) + made.left_out.total() == len(said)
    for pair in made.rows:
        assert pair.chosen_ids != pair.rejected_ids
        for conversation, ids in ((pair.chosen, pair.chosen_ids), (pair.rejected, pair.rejected_ids)):
            assert ids[-1] == chat.end_of_turn.id
            assert chat.end_of_turn.id not in ids[:-1]
            assert conversation.ids[: conversation.end] == pair.prompt_ids + ids
            assert len(conversation.ids) <= LIMIT
