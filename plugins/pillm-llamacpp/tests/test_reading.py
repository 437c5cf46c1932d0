"""Conversations share a context: none is lost, none sees another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pillm_llamacpp.inference.engine import Model, start
from pillm_llamacpp.measuring.reading import Conversation, Reader, groups, slices, tokenised
from pillm_llamacpp.workers.refusal import Refusal
from pillm_llamacpp_tiny import conversations

import pillm


@given(st.lists(st.integers(0, 60), max_size=50), st.integers(1, 8))
def test_every_conversation_is_in_one_group_that_holds_it(lengths: list[int], sequences: int) -> None:
    made = list(groups(lengths, cells=64, sequences=sequences))
    assert [index for group in made for index in group] == list(range(len(lengths)))
    for group in made:
        assert len(group) <= sequences
        assert sum(lengths[index] for index in group) <= 64


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 40), st.integers(1, 10))
def test_every_token_is_in_one_slice_that_wants_few_enough(flags: list[bool], tokens: int, outputs: int) -> None:
    wanted = np.array(flags, np.bool_)
    made = list(slices(wanted, tokens=tokens, outputs=outputs))
    assert [place for part in made for place in range(part.start, part.stop)] == list(range(len(wanted)))
    for part in made:
        assert 0 < part.stop - part.start <= tokens
        assert wanted[part].sum() <= outputs


def test_a_conversation_is_read_alone_as_it_is_read_among_others(exported: dict[str, pillm.ModelFile]) -> None:
    log = start()
    model = Model(str(exported["F16"].path), log)
    rows = tokenised(model, conversations(12))
    made = [Conversation(np.array(ids, np.int32), np.arange(len(ids)) % 3 == 0) for ids in rows]
    reader = Reader(model, log, threads=1, longest=max(map(len, rows)))
    try:
        together = np.concatenate([logits.copy() for _, logits in reader.read(made) if len(logits)])
        alone = np.concatenate([logits.copy() for one in made for _, logits in reader.read([one]) if len(logits)])
        again = sum(count for count, _ in reader.read(made))
    finally:
        reader.close()
        model.close()
    assert again == sum(map(len, rows))
    assert together.shape == (sum(int(one.wanted.sum()) for one in made), model.n_vocab)
    # sums over another number of cells round otherwise; logits here are about ten
    assert np.abs(together - alone).max() < 0.1


def test_texts_without_a_token_are_refused(exported: dict[str, pillm.ModelFile]) -> None:
    model = Model(str(exported["F16"].path), start(), vocab_only=True)
    with pytest.raises(Refusal, match="no tokens"):
        tokenised(model, ["", ""])
    with pytest.raises(Refusal, match="not Unicode"):
        tokenised(model, ["\ud800"])
    model.close()
