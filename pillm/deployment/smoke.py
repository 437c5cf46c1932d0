"""The smoke test: what the very file that ships answered before, greedily, and how near to it the board must come.

Another processor adds the same numbers in another order: where two tokens are nearly as likely, the other one may win there,
and the rest of the answer follows it. So a board is not asked for equal texts but for answers that agree, and for most of them.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pillm.contract import Contract
from pillm.deployment.vectors import VectorTest, vector_test
from pillm.metrics import answer_json, leaves, schema_fault
from pillm.records import JSONObject, Message, Prompt

LONGEST = 64
"""Tokens of an answer where nothing is expected of it."""
ANY = "any"
"""The word for a test that every answer passes."""
HELLO = Prompt(id="hello", messages=({"role": "user", "content": "Hello"},))
_SHARE = 0.5
"""The part of an answer's text from its start, or of its fields, that must be the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmokeTest:
    """Messages as they are sent, and the answer that the board's must agree with; None: any answer will do."""

    messages: tuple[Message, ...]
    expected: str | None
    tokens: int = LONGEST
    """How many tokens are asked for at most."""
    begins: str | None = None
    """How the answer must begin; None: as the first half of what is expected."""
    schema: JSONObject | None = None
    """The JSON Schema that the answer must satisfy, where `expected` is JSON that does."""
    plain: bool = False
    """Whether it is asked as most callers ask: without a word of how to sample."""

    def request(self) -> JSONObject:
        """Return the body of the chat completion that asks it."""
        sampling = {} if self.plain else {"temperature": 0, "seed": 0}
        return {"messages": list(self.messages), **sampling, "max_tokens": self.tokens, "stream": False}

    def judge(self, said: str) -> str | None:
        """Return what is wrong with an answer, or None where it agrees."""
        said = _plain(said)
        if not said:
            return "it answered nothing"
        if self.expected is None or said == _plain(self.expected):
            return None
        wrong = f"it answered {said[:80]!r}, and {self.expected[:80]!r} was expected"
        if self.schema is not None:
            return _json_fault(said, self.expected, self.schema, wrong)
        start = _plain(self.expected)
        start = start[: math.ceil(len(start) * _SHARE)] if self.begins is None else _plain(self.begins)
        return None if said.startswith(start) else wrong

    def to_json(self) -> JSONObject:
        """Return the test as plain JSON."""
        told: JSONObject = {"request": self.request(), "expected": self.expected}
        return told | {name: kept for name in ("begins", "schema") if (kept := getattr(self, name)) is not None}


AnyTest: TypeAlias = SmokeTest | VectorTest


def judge_all(tests: Sequence[AnyTest], said: Sequence[str]) -> str | None:
    """Return what is wrong with the answers to tests, or None where half of them or more agree."""
    faults = [fault for test, answer in zip(tests, said, strict=True) if (fault := test.judge(answer))]
    if len(tests) - len(faults) >= len(faults):
        return None
    return faults[0] if len(tests) == 1 else f"{faults[0]}; {len(faults)} of {len(tests)} answers do not agree"


def smoke_to_json(tests: Sequence[AnyTest]) -> JSONObject:
    """Return tests as plain JSON."""
    return {"tests": [test.to_json() for test in tests]}


def smoke_from_json(told: Any) -> tuple[AnyTest, ...]:
    """Return the tests that `smoke_to_json` wrote; raise KeyError or TypeError for what it did not."""
    found = tuple(
        vector_test(one)
        if "input" in one["request"]
        else SmokeTest(
            messages=tuple(one["request"]["messages"]),
            expected=one["expected"],
            tokens=one["request"].get("max_tokens", LONGEST),
            begins=one.get("begins"),
            schema=one.get("schema"),
            plain="temperature" not in one["request"],
        )
        for one in told["tests"]
    )
    if not found:
        raise KeyError("tests")
    return found


def smoke_of_words(prompt: str, answer: str | None, contract: Contract) -> tuple[SmokeTest, ...]:
    """Return the test that a person chose: a prompt, `any` for a greeting, and how its answer must begin, if that is said."""
    asked = HELLO if prompt == ANY else Prompt(id="smoke", messages=({"role": "user", "content": prompt},))
    return (SmokeTest(messages=contract.messages(asked), expected=answer, begins=answer, tokens=tokens_for(answer)),)


def tokens_for(expected: str | None) -> int:
    """Return how many tokens are asked for: an answer has no more tokens than bytes."""
    return LONGEST if expected is None else max(LONGEST, min(len(expected.encode("utf-8", "replace")) + 8, 512))


def _json_fault(said: str, expected: str, schema: JSONObject, wrong: str) -> str | None:
    try:
        value, truth = answer_json(said), answer_json(expected)
        if fault := schema_fault(schema, value):
            return f"{wrong}; it breaks the schema at {fault[0]}"
        wanted, got = set(leaves(truth)), set(leaves(value))
    except ValueError:
        return f"{wrong}; it is no JSON"
    shared = 2 * len(wanted & got) / max(len(wanted) + len(got), 1)
    return None if shared >= _SHARE else wrong


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()
