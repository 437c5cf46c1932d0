"""Whatever a server sends is an answer or a fault, never a crash."""

import json
from base64 import b64encode
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pillm_openai.faults import Fault, bytes_without, fault_of_status, server_words, waiting_time, without
from pillm_openai.reading import answer_of

import pillm

KEYS = [
    "error", "message", "code", "type", "choices", "finish_reason", "content", "refusal", "tool_calls", "text", "usage",
    "prompt_tokens", "completion_tokens", "prompt_tokens_details", "cached_tokens", "logprobs", "top_logprobs", "token", "id",
    "logprob", "model", "system_fingerprint", "reasoning_content", "reasoning", "detail",
]  # fmt: skip
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=4)
    | st.sampled_from(["length", "token_id:7"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=20,
)
messages = st.fixed_dictionaries(
    {}, optional={"content": anything, "tool_calls": anything, "refusal": anything, "reasoning": anything}
)
choices = st.fixed_dictionaries(
    {"message": messages}, optional={"finish_reason": anything, "logprobs": anything, "error": anything}
)
bodies = st.fixed_dictionaries({"choices": st.lists(choices, max_size=2)}, optional={"usage": anything, "model": anything})


@settings(deadline=None)
@given(st.one_of(bodies, anything).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=30))
def test_any_body_is_an_answer_or_a_fault(body):
    try:
        answer = answer_of(body, {})
    except Fault as fault:
        failure = fault.failure(1, "secret")
        assert failure.message
    else:
        assert isinstance(answer, pillm.Answer)
        assert isinstance(answer.content, str)
        assert answer.raw == body
        json.dumps(
            [answer.message, answer.model, answer.token_ids, answer.logprobs], ensure_ascii=False, allow_nan=False
        ).encode()


@settings(deadline=None)
@given(
    st.integers(300, 599),
    st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms"]), st.text()),
    st.binary(max_size=40),
)
def test_any_status_is_a_fault_with_a_sentence(status, headers, body):
    fault = fault_of_status(status, headers, body)
    assert fault.failure(2, "secret").message.startswith("the server answered")
    assert fault.wait is None or fault.wait >= 0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_the_pause_that_a_server_asks_for_is_read_in_every_form(headers, seconds):
    assert waiting_time(headers) == seconds


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": {"message": "no", "code": "c"}}', ("no", "c")),
        (b'{"error": {"message": "no", "type": "t", "code": null}}', ("no", "t")),
        (b'{"error": "no"}', ("no", "")),
        (b'{"detail": "no"}', ("no", "")),
        (b'{"object": "error", "message": "no", "code": 400}', ("no", "400")),
        (b"<html>no</html>", ("<html>no</html>", "")),
        (b"", ("", "")),
        (b"\xff", ("\ufffd", "")),
    ],
)
def test_the_servers_words_are_found_in_every_form(body, said):
    assert server_words(body) == said


def test_a_text_for_people_has_no_key_one_line_and_an_end():
    assert without("sk-1", "a\n  key sk-1") == "a key [key]"
    assert len(without("", "a" * 5000)) == 300


KEY = 'sk-0123456789abcdef+/="'


@pytest.mark.parametrize(
    "said", [KEY, KEY[:20], quote(KEY, safe=""), json.dumps(KEY), repr(KEY), b64encode(KEY.encode()).decode()]
)
def test_a_key_is_struck_from_a_text_in_every_form_and_where_it_was_cut(said):
    struck = without(KEY, f"{'x' * 280} the key {said} is wrong")
    assert "[key]" in struck
    assert said[:12].strip("\"'") not in struck
    fault = fault_of_status(500, {}, json.dumps({"error": {"message": "x" * 290 + f" {said}"}}).encode())
    assert "0123" not in fault.failure(1, KEY).message


def test_a_body_that_repeats_the_key_is_kept_without_it_and_a_word_that_serves_as_a_key_stays():
    assert bytes_without(KEY, json.dumps({"model": KEY, "content": "a"}).encode()) == b'{"model": "[key]", "content": "a"}'
    assert bytes_without("EMPTY", b'{"content": "EMPTY"}') == b'{"content": "EMPTY"}'


def body_of(**message):
    return json.dumps({"choices": [{"message": message}]}).encode()


@pytest.mark.parametrize("opened", ["<think>\n", ""])
def test_a_thought_that_the_server_left_in_the_answer_is_told_from_it(opened):
    body = body_of(content=f'{opened}hmm\n</think>\n\n{{"a":"x"}}', reasoning_content=None)
    answer = answer_of(body, {})
    assert (answer.content, answer.reasoning, answer.raw) == ('{"a":"x"}', "hmm", body)


CALL = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'


def test_a_call_that_the_server_left_in_the_answer_is_one_where_tools_were_offered():
    called = answer_of(body_of(content=f"<think>hm</think>{CALL}"), {}, tools=True)
    assert (called.content, called.reasoning) == ("", "hm")
    assert called.tool_calls == ({"type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},)
    assert answer_of(body_of(content=CALL), {}).content == CALL


@pytest.mark.parametrize(
    "message",
    [
        {"content": "Write </think> here.", "reasoning": "They ask how thoughts end."},
        {"content": "Write </think> here.", "tool_calls": [{"id": "1"}]},
        {"content": '{"a": "</think>"}'},
    ],
)
def test_what_the_server_told_apart_or_is_json_as_a_whole_stays_as_it_is(message):
    answer = answer_of(body_of(**message), {}, tools=True)
    assert (answer.content, answer.reasoning) == (message["content"], message.get("reasoning"))


def test_half_of_a_surrogate_pair_is_replaced_and_kept_in_the_raw_bytes():
    body = rb'{"choices": [{"message": {"content": "a\ud83d"}}]}'
    answer = answer_of(body, {})
    assert (answer.content, answer.raw) == ("a?", body)


def test_a_number_that_is_not_json_is_read_as_none():
    body = b'{"choices": [{"message": {"content": "a", "tool_calls": [{"x": NaN, "y": 1e999, "z": 1.5}]}}]}'
    assert answer_of(body, {}).tool_calls == ({"x": None, "y": None, "z": 1.5},)
