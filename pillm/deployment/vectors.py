"""The smoke test of an encoder: the vector that the board makes of a text must point where this file's own does here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pillm.artifacts import ModelFile
from pillm.backends import Runner
from pillm.devices.ggufheader import Value
from pillm.errors import ConfigError
from pillm.records import JSONObject

TEXTS = ("Hello", "The light in the kitchen is on.", "Combien coûte un billet pour demain?")
LEAST_COSINE = 0.99
"""Another processor adds in another order; a vector of another model points elsewhere."""
_POOLINGS = {1: "mean", 2: "cls", 3: "last"}
_RANK = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorTest:
    """A text, and the vector that this file makes of it here; None: any vector will do."""

    text: str
    expected: tuple[float, ...] | None

    def request(self) -> JSONObject:
        """Return the body of the request that asks for its vector."""
        return {"input": self.text, "encoding_format": "float"}

    def judge(self, said: str) -> str | None:
        """Return what is wrong with a vector, as JSON text, or None where it agrees."""
        found = json.loads(said)
        if not found or not any(found):
            return "it made no vector of a text"
        if self.expected is None:
            return None
        if len(found) != len(self.expected):
            return f"it made a vector of {len(found)} numbers, and {len(self.expected)} were expected"
        cosine = _cosine(found, self.expected)
        near = cosine >= LEAST_COSINE
        return None if near else f"its vector of {self.text!r} points elsewhere (cosine {cosine:.3f}, wanted {LEAST_COSINE})"

    def to_json(self) -> JSONObject:
        """Return the test as plain JSON."""
        return {"request": self.request(), "expected": self.expected and list(self.expected)}


def vector_test(told: Mapping[str, Any]) -> VectorTest:
    """Return the test that `to_json` wrote; raise KeyError or TypeError for what it did not."""
    expected = told["expected"]
    vector = None if expected is None else tuple(float(value) for value in expected)
    return VectorTest(text=str(told["request"]["input"]), expected=vector)


def pooling_of(file: Path, header: Mapping[str, Value]) -> str | None:
    """Return how a file that turns texts into vectors makes one of a text's tokens; None for one that answers.

    Raises ConfigError for one that ranks pairs of texts.
    """
    kind = header.get("general.architecture")
    if header.get(f"{kind}.attention.causal") is not False:
        return None
    told = header.get(f"{kind}.pooling_type")
    if told == _RANK:
        raise ConfigError(f"{file} ranks pairs of texts, which deploy does not serve. Nothing was sent.")
    return _POOLINGS.get(told, "mean") if isinstance(told, int) else "mean"


def vector_tests(model: ModelFile, runner: Runner | None, text: str | None = None) -> tuple[VectorTest, ...]:
    """Return texts, or a person's own, and the vectors that a runner makes of them here; without one any vector will do."""
    texts = TEXTS if text is None else (text,)
    if runner is None or "embed" not in runner.capabilities:
        return tuple(VectorTest(text=one, expected=None) for one in texts)
    with runner.open(model) as session:
        return tuple(VectorTest(text=one, expected=vector) for one, vector in zip(texts, session.embed(texts), strict=True))


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    lengths = math.hypot(*one) * math.hypot(*other)
    return sum(a * b for a, b in zip(one, other, strict=True)) / lengths if lengths else 0.0
