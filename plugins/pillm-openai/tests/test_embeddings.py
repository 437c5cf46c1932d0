"""Vectors come in the order of their texts, of length 1, and a server that has none is told what to change."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pillm_openai.embeddings import embedded
from pillm_openai.native import Native
from pillm_openai_asking import SECRET
from pillm_openai_natives import Told, refusal

import pillm


def vectors(reply: Any, *texts: str) -> list[tuple[float, ...]]:
    with Told(v1__embeddings=reply) as server:
        native = Native(server.url, SECRET, 5.0)
        try:
            return list(embedded(native, "m", texts))
        finally:
            native.close()


def test_vectors_follow_their_texts_whatever_the_order_in_which_a_server_tells_them() -> None:
    asked = []

    def reply(body: Any) -> Any:
        asked.append(len(body["input"]))
        assert (body["model"], body["encoding_format"]) == ("m", "float")
        rows = [{"index": place, "embedding": [3.0 * len(text), 4.0 * len(text)]} for place, text in enumerate(body["input"])]
        return {"data": rows[::-1]}

    found = vectors(reply, *("x" * (1 + number) for number in range(20)))
    assert asked == [16, 4]
    assert found == [pytest.approx((0.6, 0.8))] * 20


@pytest.mark.parametrize(
    ("status", "said", "kind", "told"),
    [
        (501, "This server does not support embeddings. Start it with `--embeddings`", pillm.ConfigError, "--pooling mean"),
        (400, "Pooling type 'none' is not OAI compatible", pillm.ConfigError, "runner 'local'"),
        (500, "input (900 tokens) is too large to process", pillm.DataError, "Shorten the text"),
        (401, f"no such key {SECRET}", pillm.Unavailable, "api_key_env"),
        (500, "out of order", pillm.BackendError, "asks again"),
    ],
)
def test_a_refusal_says_what_to_change_and_never_the_key(status: int, said: str, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind) as refused:
        vectors(refusal(status, said), "a")
    assert told in str(refused.value)
    assert SECRET not in str(refused.value)


ODD = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["data", "index", "embedding"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(reply=ODD.filter(lambda reply: reply is not None))
def test_whatever_a_server_sends_is_vectors_or_a_backend_error(reply: Any) -> None:
    with pytest.raises(pillm.BackendError, match="no embeddings that can be read"):
        vectors(reply, "a", "b")
