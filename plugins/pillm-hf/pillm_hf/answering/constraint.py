"""Hold answers to a JSON Schema while they are generated, with llguidance; and look at what came out.

Import this module inside functions: it imports torch and llguidance.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jsonschema import Draft202012Validator
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer

import pillm
from pillm_hf.answering.grammars import grammar_of, refused

_COMPILED = 64  # schemas kept: rows of a task share one


class Constraint:
    """A schema's grammar and how much of it one answer has used."""

    def __init__(self, matcher: LLMatcher, validator: Any, stop_ids: frozenset[int]) -> None:
        self._start, self._matcher, self._validator, self._stop_ids = matcher, matcher.deep_copy(), validator, stop_ids

    def fresh(self) -> Constraint:
        """Return the same grammar at its beginning."""
        return Constraint(self._start, self._validator, self._stop_ids)

    def restart(self) -> None:
        """Go back to the beginning of the answer."""
        self._matcher = self._start.deep_copy()

    def allows(self, token: int) -> bool:
        """Return whether a token may come next."""
        if token in self._stop_ids:
            return bool(self._matcher.is_accepting())
        return self._matcher.validate_tokens([token]) == 1

    def accept(self, token: int) -> None:
        """Move on by a token that is allowed."""
        if token not in self._stop_ids:
            self._matcher.consume_token(token)

    def forbidden(self, vocabulary: int) -> torch.Tensor:
        """Return which of the tokens [vocabulary] may not come next; some end of the answer always may."""
        bits = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        allowed = (bits.unsqueeze(1) >> torch.arange(8, dtype=torch.uint8) & 1).flatten().bool()
        hidden = torch.ones(vocabulary, dtype=torch.bool)
        count = min(vocabulary, len(allowed))
        hidden[:count] = ~allowed[:count]
        if self._matcher.is_accepting() or bool(hidden.all()):
            hidden[sorted(self._stop_ids)] = False
        return hidden

    def fault(self, text: str) -> str | None:
        """Return why an answer does not satisfy the schema, or None where it does."""
        try:
            value = json.loads(text)
        except ValueError as error:
            return f"it is not JSON ({error})"
        fault = next(iter(self._validator.iter_errors(value)), None)
        return f"{fault.message} at {fault.json_path}" if fault else None


class Constraints:
    """The grammars of a tokenizer, one per schema."""

    def __init__(self, tokenizer: Any, vocabulary: int, stop_ids: frozenset[int]) -> None:
        """Take a tokenizer and the width of the model's logits; raise ConfigError where llguidance cannot read it."""
        try:
            size = max(vocabulary, len(tokenizer))
            self._tokens = from_tokenizer(tokenizer, n_vocab=size, eos_token=sorted(stop_ids))
        except Exception as error:
            raise pillm.ConfigError(
                f"constrain=true needs a fast tokenizer that llguidance can read ({error}). Nothing was asked. "
                "Set constrain=false, and let the schema be checked afterwards."
            ) from error
        self._stop_ids = stop_ids
        self._made: OrderedDict[str, Constraint] = OrderedDict()

    def of(self, schema: dict[str, Any], where: str) -> Constraint:
        """Return a fresh constraint; raise ConfigError naming what in the schema an answer could not be held to."""
        key = json.dumps(schema, sort_keys=True)
        if key not in self._made:
            self._made[key] = self._compiled(schema, where)
            if len(self._made) > _COMPILED:
                self._made.popitem(last=False)
        self._made.move_to_end(key)
        return self._made[key].fresh()

    def _compiled(self, schema: dict[str, Any], where: str) -> Constraint:
        grammar = grammar_of(schema, where)
        try:
            matcher = LLMatcher(self._tokens, grammar, log_level=0)
        except ValueError as error:
            raise refused(where, str(error)) from error
        if matcher.is_error():
            raise refused(where, matcher.get_error())
        return Constraint(matcher, Draft202012Validator(schema), self._stop_ids)


def hold(logits: torch.Tensor, held: Iterable[tuple[int, Constraint | None]], first: Sequence[int] | None) -> torch.Tensor:
    """Return the logits with minus infinity at what the constrained rows may not say.

    `first` holds each row's most likely token where the choice is greedy: where that one is allowed, as it mostly is, the
    rest of the vocabulary need not be looked at.
    """
    masked = None
    for index, constraint in held:
        if constraint is None or (first is not None and constraint.allows(first[index])):
            continue
        masked = logits.clone() if masked is None else masked
        masked[index].masked_fill_(constraint.forbidden(logits.shape[-1]).to(logits.device), float("-inf"))
    return logits if masked is None else masked
