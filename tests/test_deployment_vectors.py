"""The smoke test of an encoder: vectors that point the same way."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pillm
from pillm.deployment.profile import Profile, arguments
from pillm.deployment.smoke import smoke_from_json, smoke_to_json
from pillm.deployment.vectors import VectorTest, pooling_of, vector_tests
from tests.test_deployment_profile import FILE, NEW, server

VECTORS = st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=8)


def header(**told: object) -> dict[str, object]:
    return {"general.architecture": "bert", "bert.attention.causal": False} | {
        f"bert.{name}": value for name, value in told.items()
    }


@given(VECTORS, st.floats(0.001, 1000))
def test_a_vector_agrees_with_itself_at_any_length_and_with_none_that_points_away(vector: list[float], length: float) -> None:
    test = VectorTest(text="Hello", expected=tuple(vector))
    if math.hypot(*vector) < 1e-3:
        return
    assert test.judge(json.dumps([value * length for value in vector])) is None
    assert "points elsewhere" in (test.judge(json.dumps([-value for value in vector])) or "")
    assert "numbers" in (test.judge(json.dumps([*vector, 1.0])) or "")
    assert test.judge(json.dumps([0.0 for _ in vector])) == "it made no vector of a text"
    assert smoke_from_json(smoke_to_json([test])) == (test,)


def test_what_a_file_is_says_its_header() -> None:
    told = [pooling_of(Path("m.gguf"), header(pooling_type=kind)) for kind in (0, 1, 2, 3)]  # type: ignore[arg-type]
    assert told == ["mean", "mean", "cls", "last"]
    assert pooling_of(Path("m.gguf"), header()) == "mean"  # type: ignore[arg-type]
    assert pooling_of(Path("m.gguf"), {"general.architecture": "llama"}) is None
    with pytest.raises(pillm.ConfigError, match="ranks pairs of texts"):
        pooling_of(Path("m.gguf"), header(pooling_type=4))  # type: ignore[arg-type]


def test_without_a_runner_that_embeds_any_vector_will_do() -> None:
    model = pillm.ModelFile(path=Path("m.gguf"), quant="F16", bytes=1, sha256="0" * 64)
    (test,) = vector_tests(model, None, "my text")
    assert (test.request()["input"], test.judge("[0.5, 0.1]")) == ("my text", None)


def test_a_text_is_read_at_once() -> None:
    profile = Profile(server="llama-server", context=512, pooling="cls")
    words, _ = arguments(server(*NEW, "--embedding", "--pooling"), "0a1b", profile, **FILE)
    pairs = dict(pairwise(words))
    assert (pairs["--batch-size"], pairs["--ubatch-size"], pairs["--pooling"]) == ("512", "512", "cls")
    assert "--embedding" in words
    assert "--temp" not in words
