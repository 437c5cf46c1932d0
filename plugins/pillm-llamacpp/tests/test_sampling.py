"""Under a grammar the model's own choice is tried first; the vocabulary is looked at only where it is not allowed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from pillm_llamacpp.grammars.grammar import compile_schema
from pillm_llamacpp.inference.sampling import Chooser, Grammar, top_logprobs
from pillm_llamacpp.process.serving import Served

import pillm


@pytest.fixture
def served(gguf: pillm.ModelFile) -> Iterator[Served]:
    found = Served(path=str(gguf.path), vocab_only=True)
    yield found
    found.model.close()


def chosen(served: Served, monkeypatch: pytest.MonkeyPatch, wanted: int) -> tuple[int | None, list[int]]:
    """Return the choice where a token is the most likely, and of how many tokens the grammar was asked at each look."""
    grammar, looked = Grammar.compile(served.model, compile_schema({"enum": ["oui", "non"]}, where="row").gbnf), []
    mask = grammar.mask
    monkeypatch.setattr(grammar, "mask", lambda ids, logits: (looked.append(len(ids)), mask(ids, logits))[1])
    row = np.linspace(0, 1, served.model.n_vocab, dtype=np.float32)
    row[wanted] = 5
    found = Chooser(grammar=grammar).choose(row, wanted)
    grammar.close()
    return found, looked


def test_an_allowed_choice_costs_no_look_at_the_vocabulary(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    (quote,) = served.model.tokenize('"')
    assert chosen(served, monkeypatch, quote) == (quote, [])


def test_a_choice_that_is_not_allowed_is_replaced_by_the_most_likely_that_is(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    (other,) = served.model.tokenize("{")
    found, looked = chosen(served, monkeypatch, other)
    assert found is not None
    assert served.model.piece(found).startswith(b'"')
    assert looked[-1] == served.model.n_vocab


def test_a_grammar_says_what_may_come_next(served: Served) -> None:
    grammar = Grammar.compile(served.model, compile_schema({"const": "o"}, where="row").gbnf)
    for token in served.model.tokenize('"o"'):
        assert grammar.allows(token)
        assert not grammar.allows(served.model.tokenize("}")[0])
        grammar.accept(token)
    assert any(grammar.allows(end) for end in served.model.ends)
    grammar.close()


def test_log_probabilities_add_up(served: Served) -> None:
    row = np.random.default_rng(0).standard_normal(300).astype(np.float32)
    found = top_logprobs(row, 300)
    assert found[0][0] == int(np.argmax(row))
    assert sum(np.exp(value) for _, value in found) == pytest.approx(1.0)
