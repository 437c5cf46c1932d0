"""Choose the next token: greedy, or by temperature; held to a grammar where one is given."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, TypeAlias

import llama_cpp.llama_cpp as llama
import numpy as np

from pillm_llamacpp.workers.refusal import Refusal

if TYPE_CHECKING:
    from pillm_llamacpp.inference.engine import Model

Row: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"
_TOKEN = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
_FIRST_LOOK = 64


class Grammar:
    """A grammar and how much of it one answer has used."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    @classmethod
    def compile(cls, model: Model, source: str) -> Grammar:
        """Return the grammar of a GBNF text; raise Refusal where llama.cpp cannot read it."""
        handle = llama.llama_sampler_init_grammar(model.vocab, source.encode(), b"root")
        if not handle:
            raise Refusal("config", "llama.cpp cannot compile the grammar made from the schema")
        return cls(handle)

    def copy(self) -> Grammar:
        """Return a fresh use of the same grammar."""
        return Grammar(llama.llama_sampler_clone(self._handle))

    def allows(self, token: int) -> bool:
        """Say whether a token may come next."""
        data = llama.llama_token_data(id=token, logit=1.0, p=0.0)
        array = llama.llama_token_data_array(data=ctypes.pointer(data), size=1, selected=-1, sorted=False)
        llama.llama_sampler_apply(self._handle, ctypes.byref(array))
        return bool(data.logit > float("-inf"))

    def mask(self, ids: np.ndarray[Any, Any], logits: Row) -> Row:
        """Return the logits of these tokens, minus infinity where the grammar does not allow them next."""
        data = np.zeros(len(ids), _TOKEN)
        data["id"], data["logit"] = ids, logits
        pointer = data.ctypes.data_as(ctypes.POINTER(llama.llama_token_data))
        array = llama.llama_token_data_array(data=pointer, size=len(ids), selected=-1, sorted=False)
        llama.llama_sampler_apply(self._handle, ctypes.byref(array))
        # the array may come back in another order
        masked = np.full(len(ids), -np.inf, np.float32)
        order = np.argsort(ids, kind="stable")
        masked[order[np.searchsorted(ids[order], data["id"])]] = data["logit"]
        return masked

    def accept(self, token: int) -> None:
        """Move on by a token that the grammar allows."""
        llama.llama_sampler_accept(self._handle, token)

    def close(self) -> None:
        """Free the grammar."""
        if self._handle:
            llama.llama_sampler_free(self._handle)
            self._handle = None


class Chooser:
    """How one answer's tokens are chosen."""

    def __init__(self, *, temperature: float = 0.0, seed: int = 0, grammar: Grammar | None = None) -> None:
        self.temperature = temperature
        self.grammar = grammar
        self._random = np.random.default_rng(seed) if temperature > 0 else None

    @property
    def plain(self) -> bool:
        """Return whether the most likely token is always the choice."""
        return self.grammar is None and self._random is None

    def choose(self, row: Row, best: int) -> int | None:
        """Return the next token, of which `best` is the most likely; None where the grammar allows none."""
        token = best if self._random is None else self._draw(np.arange(len(row)), row)
        # most often the model's own choice is allowed, and the full vocabulary need not be looked at
        if self.grammar is None or (token is not None and self.grammar.allows(token)):
            return token
        for ids in self._candidates(row):
            masked = self.grammar.mask(ids, row[ids])
            if np.isfinite(masked).any():
                return self._draw(ids, masked)
        return None

    def _candidates(self, row: Row) -> list[np.ndarray[Any, Any]]:
        everything = np.arange(len(row))
        if self._random is not None or len(row) <= _FIRST_LOOK:
            return [everything]
        return [np.argpartition(row, -_FIRST_LOOK)[-_FIRST_LOOK:], everything]

    def _draw(self, ids: np.ndarray[Any, Any], logits: Row) -> int | None:
        if self._random is None:
            best = int(np.argmax(logits))
            return int(ids[best]) if np.isfinite(logits[best]) else None
        scaled = logits.astype(np.float64) / self.temperature
        weights = np.exp(scaled - scaled.max())
        total = np.cumsum(weights)
        if not np.isfinite(total[-1]):
            return None
        place = np.searchsorted(total, self._random.random() * total[-1], side="right")
        return int(ids[min(int(place), len(ids) - 1)])

    def accept(self, token: int) -> None:
        """Note the choice."""
        if self.grammar is not None:
            self.grammar.accept(token)


def top_logprobs(row: Row, count: int) -> list[tuple[int, float]]:
    """Return the `count` most likely tokens with their natural log-probabilities, best first."""
    count = min(count, len(row))
    top = np.argpartition(row, -count)[-count:]
    top = top[np.argsort(-row[top], kind="stable")]
    peak = float(row.max())
    norm = peak + float(np.log(np.exp(row.astype(np.float64) - peak).sum()))
    return [(int(token), float(row[token]) - norm) for token in top]
