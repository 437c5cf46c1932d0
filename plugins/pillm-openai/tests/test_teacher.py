"""The teacher against a real server in this process: pulling, retries, stops, and what it sends and keeps."""

import json
import logging
import subprocess
import sys
import threading
import time
import traceback

import pillm_openai
import pytest
from pillm_openai import OpenAI

import pillm
from pillm.contract import Contract
from pillm.testing import FakeOpenAIServer, Reply, check_plugin, check_teacher, completion

SECRET = "sk-secret-0123456789"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def teacher(server, **options):
    return OpenAI(**{"model": "m", "base_url": server.base_url, "backoff": 0.0, "timeout": 10, **options})


def requests(count=1, **fields):
    for number in range(count):
        prompt = pillm.Prompt(id=f"r{number}", messages=({"role": "user", "content": f"ça {number}"},), **fields)
        yield Contract().request(prompt, {}, 0)


def one(server, **options):
    [(_, result)] = teacher(server, **options).answer(requests())
    return result


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


@pytest.mark.parametrize(
    "fault",
    [
        Reply.error(500),
        Reply.error(503),
        Reply.error(408),
        Reply.error(409),
        Reply.error(429),
        Reply(dropped=True),
        Reply(body=b"<html>bad gateway</html>"),
        Reply(body=b"[]"),
        Reply(body=b"[" * 100_000),
        Reply(body={"error": {"message": "overloaded", "code": 503}}),
        Reply(body={"error": "overloaded"}),
        Reply(body={"choices": None}),
        Reply(body={"choices": []}),
        Reply(body={"choices": "none"}),
        Reply(body={"choices": [None]}),
        Reply(body={"choices": [{"error": {"message": "upstream", "code": 502}}]}),
        Reply.text(None),
        Reply(body={"choices": [{"message": 5}]}),
    ],
)
def test_a_fault_that_may_pass_is_tried_again(fault):
    with FakeOpenAIServer([fault, fault]) as server:
        answer = one(server)
    assert answer.content == "ÇA 0"
    assert answer.timings["attempts"] == 3


@pytest.mark.parametrize(
    ("fault", "kind", "stop"),
    [
        (Reply.error(500), "server", False),
        (Reply.error(429), "rate", False),
        (Reply(dropped=True), "network", False),
        (Reply.text(None), "server", False),
        (Reply(body={"choices": None}), "server", False),
    ],
)
def test_a_fault_that_stays_becomes_a_failure_after_the_last_try(fault, kind, stop):
    with FakeOpenAIServer([fault] * 3) as server:
        failure = one(server, max_retries=2)
    assert (failure.kind, failure.stop) == (kind, stop)
    assert "(3 attempts)" in failure.message
    assert len(server.calls) == 3


@pytest.mark.parametrize(
    ("fault", "kind", "stop"),
    [
        (Reply.error(400, "bad schema"), "invalid", False),
        (Reply.error(422), "invalid", False),
        (Reply.error(400, code="content_filter"), "refused", False),
        (Reply.error(401), "credentials", True),
        (Reply.error(403), "credentials", True),
        (Reply.error(402), "quota", True),
        (Reply.error(404, "no such model"), "server", True),
        (Reply.error(429, code="insufficient_quota"), "quota", True),
        (Reply(body={"error": {"message": "spent", "code": "insufficient_quota"}}), "quota", True),
        (Reply(body={"error": {"message": "who are you", "code": 401}}), "credentials", True),
        (Reply.text(None, refusal="I cannot help"), "refused", False),
        (Reply.text("half", finish_reason="content_filter"), "refused", False),
        (Reply.text(None, finish_reason="length"), "invalid", False),
        (Reply(status=307, headers={"Location": "http://127.0.0.1:9/v1"}), "network", True),
        (Reply(status=400, body={"detail": [{"msg": "x"}]}), "invalid", False),
        (Reply(status=400, body=b"\xff\xfe"), "invalid", False),
    ],
)
def test_a_fault_that_stays_is_not_tried_again(fault, kind, stop):
    with FakeOpenAIServer([fault]) as server:
        failure = one(server)
    assert (failure.kind, failure.stop) == (kind, stop)
    assert failure.message
    assert len(server.calls) == 1


def test_a_spent_quota_stops_the_pulling():
    with FakeOpenAIServer(respond=lambda call: Reply.error(429, code="insufficient_quota")) as server:
        results = list(teacher(server, concurrency=2).answer(requests(50)))
    assert all(failure.kind == "quota" and failure.stop for _, failure in results)
    assert len(server.calls) <= 2


def test_ten_failures_in_a_row_stop_the_pulling():
    with FakeOpenAIServer(respond=lambda call: Reply.error(400)) as server:
        results = [result for _, result in teacher(server, concurrency=1).answer(requests(50))]
    assert len(results) == 10
    assert results[-1].stop
    assert "10 failures in a row" in results[-1].message


def test_refused_rows_never_stop_a_run():
    with FakeOpenAIServer(respond=lambda call: Reply.text(None, refusal="no")) as server:
        assert len(list(teacher(server).answer(requests(30)))) == 30


def test_retry_after_is_obeyed_by_every_caller():
    def respond(call):
        return Reply.text("a", delay=0.5)

    # the first call is told to wait while two others are in flight; whoever comes after them has to wait too
    with FakeOpenAIServer([Reply.error(429, retry_after="1.5")], respond=respond) as server:
        results = [result for _, result in teacher(server, concurrency=3).answer(requests(8))]
    assert all(isinstance(result, pillm.Answer) for result in results)
    first, *others = server.calls
    early = [call for call in others if call.at - first.at < 1.49]
    assert len(server.calls) == 9
    assert len(early) <= 2
    assert server.most_at_once == 3


@pytest.mark.parametrize("header", ["0", "-5", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_server_that_asks_for_no_wait_is_backed_off_from_all_the_same(header, monkeypatch):
    class Loaded:
        @staticmethod
        def uniform(low, high):
            return high

    monkeypatch.setattr("pillm_openai.line._DICE", Loaded)
    with FakeOpenAIServer([Reply.error(429, retry_after=header)] * 2) as server:
        assert one(server, backoff=0.1).content == "ÇA 0"
    first, second, third = (call.at for call in server.calls)
    assert second - first >= 0.19
    assert third - second >= 0.39


def test_callers_that_were_held_leave_a_little_apart():
    with FakeOpenAIServer([Reply.error(429, retry_after="0.3")] * 4) as server:
        list(teacher(server, concurrency=4, backoff=0.5).answer(requests(4)))
    after = sorted(call.at for call in server.calls[4:])
    assert len(after) == 4
    assert after[-1] - after[0] > 0.01


def test_a_pause_longer_than_max_wait_stops_the_run():
    with FakeOpenAIServer([Reply.error(429, retry_after="3600")]) as server:
        failure = one(server)
    assert (failure.kind, failure.stop) == ("rate", True)
    assert "3600 s" in failure.message


def test_a_slow_answer_is_given_up_and_tried_again():
    with FakeOpenAIServer([Reply.text("late", delay=5)]) as server:
        assert one(server, timeout=0.3).content == "ÇA 0"


def test_a_server_that_nobody_runs_is_named_and_stops_the_run():
    with FakeOpenAIServer() as server:
        url = server.base_url
    [(_, failure)] = OpenAI(model="m", base_url=url, max_retries=1, backoff=0).answer(requests())
    assert (failure.kind, failure.stop) == ("network", True)
    assert "cannot be reached" in failure.message


def test_a_body_without_end_is_cut(monkeypatch):
    monkeypatch.setattr("pillm_openai.line.MAX_BODY", 10_000)
    with FakeOpenAIServer([Reply.text("a" * 20_000)]) as server:
        assert one(server).kind == "server"


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


def test_the_secret_is_sent_and_shown_nowhere(caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    told = f"Incorrect API key provided: {SECRET}"
    with FakeOpenAIServer([Reply.error(401, told), Reply(body={"error": told})]) as server, teacher(server).open() as opened:
        failures = [
            result for _ in range(2) for _, result in OpenAI.answer(opened.model_copy(update={"max_retries": 0}), requests())
        ]
        shown = [repr(opened), repr(opened._line), str(opened.options()), str(opened.identity()), str(failures), caplog.text]
    assert server.calls[0].headers["authorization"] == f"Bearer {SECRET}"
    assert not [text for text in shown if SECRET in text]
    assert "[key]" in failures[0].message


def test_a_secret_given_as_a_name_is_refused_without_being_repeated():
    with pytest.raises(pillm.ConfigError, match="api_key_env") as caught:
        pillm.teacher("openai", model="m", api_key_env=SECRET)
    assert SECRET not in str(caught.value)
    with pytest.raises(ValueError, match="api_key_env") as caught:
        OpenAI(model="m", api_key_env=SECRET)
    assert SECRET not in str(caught.value)


def test_a_local_server_needs_no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with FakeOpenAIServer() as server:
        assert one(server).content == "ÇA 0"


def test_a_missing_key_is_told_before_anything_is_sent(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(pillm.Unavailable, match=r"export OPENAI_API_KEY=.*Nothing was sent"):
        next(OpenAI(model="m").answer(requests()))


def test_a_key_is_never_sent_in_clear_out_of_the_network():
    with pytest.raises(pillm.UnsafeError, match="https"), OpenAI(model="m", base_url="http://api.example.com/v1").open():
        pass


@pytest.mark.parametrize("url", ["ftp://a/v1", "api.openai.com", "http://user:pass@h/v1", "http://h/v1?key=1", "http://"])
def test_an_address_that_cannot_be_asked_is_refused(url):
    with pytest.raises(pillm.ConfigError, match="base_url"):
        pillm.teacher("openai", model="m", base_url=url)


@pytest.mark.parametrize("url", [f"http://user:{SECRET}@h/v1", f"https://h/v1?api_key={SECRET}", f"https://{SECRET}@h/v1"])
def test_a_secret_in_an_address_is_refused_without_being_repeated(url, monkeypatch):
    with pytest.raises(pillm.ConfigError, match="base_url") as caught:
        pillm.teacher("openai", model="m", base_url=url)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(pillm.ConfigError, match="OPENAI_BASE_URL must") as caught:
        OpenAI(model="m").identity()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_the_identity_names_the_server_and_what_is_sent_never_the_tuning(monkeypatch):
    base = OpenAI(model="m", base_url="http://localhost:8080/v1/")
    assert base.identity() == {
        "use": "openai", "model": "m", "temperature": 0.0, "structured": True, "logprobs": 0, "server": "localhost:8080/v1",
    }  # fmt: skip
    assert base.identity() == OpenAI(model="m", base_url="http://LOCALHOST:8080/v1", concurrency=2, max_retries=0).identity()
    assert base.identity() != OpenAI(model="m", base_url="http://localhost:8081/v1").identity()
    assert OpenAI(model="m").identity()["server"] == "api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8080/v1")
    assert OpenAI(model="m").identity() == base.identity()


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


def test_a_missing_openai_package_is_told_with_the_remedy(tmp_path):
    (tmp_path / "openai.py").write_text("raise ImportError('not here')")
    code = """
import pillm, pillm_openai
try:
    pillm_openai.OpenAI(model="m").open().__enter__()
except pillm.MissingDependency as error:
    print(error)
"""
    environment = {"PYTHONPATH": str(tmp_path), "OPENAI_API_KEY": "k"}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "pip install 'openai>=3'" in told.stdout
