"""The teacher against a real server in this process: pulling, what it sends, and what it keeps."""

import json
import subprocess
import sys
import threading
import time

import pillm_openai
import pytest
from pillm_openai import OpenAI
from pillm_openai_asking import one, requests, teacher

import pillm
from pillm.testing import FakeOpenAIServer, Reply, check_plugin, check_teacher, completion


def test_it_keeps_the_protocol_and_imports_nothing_heavy():
    check_plugin(pillm_openai)
    with FakeOpenAIServer() as server:
        said = check_teacher(teacher(server, concurrency=2))
    assert said[-1].content == "WHAT IS TWO AND TWO?"


def test_it_is_found_by_its_name():
    assert isinstance(pillm.teacher("openai", model="m"), OpenAI)


def test_an_answer_carries_usage_model_timings_and_every_byte():
    body = completion("ÇA", reasoning_content="hum")
    body["usage"]["prompt_tokens_details"] = {"cached_tokens": 3}
    raw = json.dumps(body).encode()
    with FakeOpenAIServer([Reply(body=raw)]) as server:
        answer = one(server)
    assert (answer.content, answer.reasoning, answer.finish_reason) == ("ÇA", "hum", "stop")
    assert answer.usage == pillm.Usage(prompt_tokens=7, completion_tokens=1, cached_tokens=3)
    assert answer.model == "fake-model-2026"
    assert answer.raw == raw
    assert answer.timings["seconds"] > 0
    assert answer.timings["attempts"] == 1


def test_never_more_requests_than_concurrency_are_in_flight_or_pulled_ahead():
    pulled = 0

    def counted():
        nonlocal pulled
        for request in requests(12):
            pulled += 1
            yield request

    with FakeOpenAIServer(respond=lambda call: Reply.text("a", delay=0.1)) as server:
        for finished, _ in enumerate(teacher(server, concurrency=3).answer(counted())):
            assert pulled - finished <= 3
    assert server.most_at_once == 3
    assert len(server.calls) == 12


def test_answers_come_in_the_order_of_completion():
    def respond(call):
        return Reply.text("a", delay=0.8 if call.text == "ça 0" else 0)

    with FakeOpenAIServer(respond=respond) as server:
        order = [request.prompt.id for request, _ in teacher(server, concurrency=2).answer(requests(3))]
    assert order[-1] == "r0"


def test_one_client_serves_many_calls_and_the_connection_is_kept():
    with FakeOpenAIServer() as server, teacher(server, concurrency=3).open() as opened:
        line = opened._line
        assert len(list(opened.answer(requests(3)))) == 3
        assert len(list(opened.answer(requests(3)))) == 3
        assert opened._line is line
    assert opened._line is None
    assert server.connections <= 3


def test_an_answer_cut_by_the_limit_is_kept_with_its_reason():
    with FakeOpenAIServer([Reply.text("half a", finish_reason="length")]) as server:
        answer = one(server)
    assert (answer.content, answer.finish_reason) == ("half a", "length")


def test_tool_calls_are_kept_and_text_parts_joined():
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    replies = [Reply.text(None, tool_calls=[call]), Reply.text([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])]
    with FakeOpenAIServer(replies) as server:
        assert one(server).tool_calls == (call,)
        assert one(server).content == "ab"


def test_calls_are_read_out_of_the_text_of_a_server_that_was_offered_tools_and_read_none():
    said = '<think>hm</think><tool_call>{"name": "f", "arguments": {}}</tool_call>'
    tools = ({"type": "function", "function": {"name": "f", "parameters": {}}},)
    with FakeOpenAIServer(respond=lambda call: Reply.text(said)) as server:
        [(_, answer)] = teacher(server).answer(requests(tools=tools))
        assert one(server).content.startswith("<tool_call>")
    assert (answer.content, answer.reasoning, len(answer.tool_calls)) == ("", "hm", 1)


def test_every_option_is_sent_and_nothing_that_is_unset():
    with FakeOpenAIServer() as server:
        one(server)
        assert server.calls[0].body == {
            "model": "m",
            "messages": [{"role": "user", "content": "ça 0"}],
            "temperature": 0.0,
        }
        one(
            server, temperature=None, top_p=0.5, max_tokens=9, seed=3, reasoning_effort="low", logprobs=4,
            extra_body={"top_k": 20},
        )  # fmt: skip
    assert {name: server.calls[1].body[name] for name in server.calls[1].body if name not in ("model", "messages")} == {
        "top_p": 0.5,
        "max_tokens": 9,
        "seed": 3,
        "reasoning_effort": "low",
        "logprobs": True,
        "top_logprobs": 4,
        "top_k": 20,
    }


def test_each_sample_has_a_seed_of_its_own_and_openai_its_own_word_for_the_limit(monkeypatch):
    request = next(requests())
    second = pillm.Request(key="k", prompt=request.prompt, messages=request.messages, sample=2)
    assert OpenAI(model="m", seed=7).body(second)["seed"] == 9
    assert OpenAI(model="m", max_tokens=5).body(request)["max_completion_tokens"] == 5
    assert OpenAI(model="m", max_tokens=5, base_url="http://localhost:1/v1").body(request)["max_tokens"] == 5


def test_messages_are_sent_without_what_is_not_the_servers():
    messages = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "reasoning": "private"})
    request = pillm.Request(key="k", prompt=pillm.Prompt(id="x", messages=messages), messages=messages)
    assert OpenAI(model="m").body(request)["messages"][1] == {"role": "assistant", "content": "b"}


def test_the_rows_schema_and_tools_are_sent():
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    fields = {"schema": schema, "schema_name": "calendar", "tools": ({"name": "f", "parameters": {}},)}
    with FakeOpenAIServer() as server:
        list(teacher(server).answer(requests(1, **fields)))
        list(teacher(server, structured=False).answer(requests(1, **fields)))
    sent = server.calls[0].body["response_format"]
    assert sent["json_schema"] == {"name": "calendar", "schema": {**schema, "additionalProperties": False}, "strict": True}
    assert server.calls[0].body["tools"] == [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    assert "response_format" not in server.calls[1].body


def entry(token, value, **more):
    return {"token": token, "logprob": value, "bytes": None, **more}


@pytest.mark.parametrize(
    "named", [lambda text, number: {"token": text, "id": number}, lambda text, number: {"token": f"token_id:{number}"}]
)
def test_log_probabilities_are_kept_where_the_server_names_token_ids(named):
    tops = [{**named("o", 5), "logprob": -0.1}, {**named("n", 6), "logprob": -2.5}]
    body = completion("o")
    body["choices"][0]["logprobs"] = {"content": [{**named("o", 5), "logprob": -0.1, "top_logprobs": tops}]}
    with FakeOpenAIServer([Reply(body=body)]) as server:
        answer = one(server, logprobs=2)
    assert answer.token_ids == (5,)
    assert answer.logprobs == (((5, -0.1), (6, -2.5)),)


@pytest.mark.parametrize(
    "content",
    [[entry("o", -0.1, top_logprobs=[entry("o", -0.1)])], [None], "x", [entry("o", "x", id=5)], [{"top_logprobs": 5, "id": 1}]],
)
def test_log_probabilities_without_ids_stay_in_the_raw_bytes(content):
    body = completion("o")
    body["choices"][0]["logprobs"] = {"content": content}
    with FakeOpenAIServer([Reply(body=body)]) as server:
        answer = one(server, logprobs=1)
    assert (answer.token_ids, answer.logprobs) == (None, None)
    assert json.loads(answer.raw)["choices"][0]["logprobs"]["content"] == content


def test_closing_early_waits_for_what_is_in_flight_and_leaves_no_thread():
    with FakeOpenAIServer(respond=lambda call: Reply.text("a", delay=0.2)) as server:
        answers = teacher(server, concurrency=4).answer(requests(100))
        next(answers)
        answers.close()
        assert len(server.calls) <= 8
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("pillm-openai")]


def test_closing_early_does_not_wait_for_a_back_off():
    with FakeOpenAIServer([Reply.text("a")], respond=lambda call: Reply.error(429, retry_after="60")) as server:
        answers = teacher(server, concurrency=2).answer(requests(3))
        next(answers)
        began = time.monotonic()
        answers.close()
    assert time.monotonic() - began < 20


def test_greedy_is_at_temperature_zero_unless_the_server_decides():
    assert OpenAI(model="m", temperature=0.8).greedy().temperature == 0.0
    assert OpenAI(model="m", temperature=None).greedy().temperature is None


def test_evaluations_ask_without_a_constraint_as_they_ask_every_other_subject():
    asked = OpenAI(model="m")
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
    [request] = requests(schema=schema)
    assert "response_format" in asked.body(request)
    assert "response_format" not in asked.greedy().body(request)


def test_the_estimate_is_a_quarter_of_the_characters():
    request = next(requests())
    assert OpenAI(model="m", max_tokens=50).estimate(request) == pillm.Usage(prompt_tokens=1, completion_tokens=50)


def test_a_missing_aiohttp_is_told_with_the_remedy(tmp_path):
    (tmp_path / "aiohttp.py").write_text("raise ImportError('not here')")
    code = """
import pillm, pillm_openai
try:
    pillm_openai.OpenAI(model="m").open().__enter__()
except pillm.MissingDependency as error:
    print(error)
"""
    environment = {"PYTHONPATH": str(tmp_path), "OPENAI_API_KEY": "k"}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "pip install 'aiohttp>=3.10'" in told.stdout
