"""What the teacher makes of faults: which are tried again, which stop the run, who waits for whom."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from pillm_openai import OpenAI
from pillm_openai_asking import one, requests, teacher

import pillm
from pillm.testing import FakeOpenAIServer, Reply


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
    stopped = [failure for _, failure in results if failure.stop]
    assert {failure.kind for failure in stopped} == {"quota"}
    assert len(results) - len(stopped) == 2 - len(server.calls), "one that was pulled already and not sent fails in passing"


def test_ten_failures_in_a_row_stop_the_pulling():
    with FakeOpenAIServer(respond=lambda call: Reply.error(400)) as server:
        results = [result for _, result in teacher(server, concurrency=1).answer(requests(50))]
    assert len(results) == 10
    assert (results[-1].kind, results[-1].stop) == ("server", True)
    assert "10 failures in a row" in results[-1].message


def prompts(count):
    return [pillm.Prompt(id=f"r{i}", messages=({"role": "user", "content": f"ça {i}"},)) for i in range(count)]


def test_a_server_that_refuses_a_key_as_gemini_does_costs_no_row_once_it_is_mended(tmp_path):
    broken = [True]

    def respond(call):
        return Reply.error(400, "API key not valid") if broken else Reply.text("a")

    with FakeOpenAIServer(respond=respond) as server:
        asked = teacher(server, concurrency=8)
        with pytest.raises(pillm.Unavailable, match=r"API key not valid; 10 failures in a row.*same command resumes"):
            pillm.label(prompts(40), asked, tmp_path)
        broken.clear()
        assert str(pillm.label(prompts(40), asked, tmp_path).counts).startswith("40 rows = 40 answered")


class Stopped(Iterator):
    """Requests of which no more are wanted after a while."""

    def __init__(self, count, seconds):
        self.requests, self.until = requests(count), time.monotonic() + seconds

    @property
    def stopping(self):
        return time.monotonic() > self.until

    def __next__(self):
        return next(self.requests)


def test_rows_that_wait_to_be_sent_again_are_given_up_when_the_run_is_stopped():
    with FakeOpenAIServer(respond=lambda call: Reply.error(429, retry_after="60")) as server:
        began = time.monotonic()
        results = [result for _, result in teacher(server, concurrency=4).answer(Stopped(4, 0.5))]
        assert len(server.calls) <= len(results) == 4  # who was told to wait holds back who was not yet sent
    assert time.monotonic() - began < 20
    assert {(result.kind, result.stop) for result in results} <= {("rate", False), ("network", False)}
    assert all("the run was stopped" in result.message for result in results)


def test_calls_in_flight_are_awaited_when_the_run_is_stopped():
    with FakeOpenAIServer(respond=lambda call: Reply.text("a", delay=1.0)) as server:
        results = [result for _, result in teacher(server, concurrency=4).answer(Stopped(4, 0.3))]
    assert [result.content for result in results] == ["a"] * 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_told_of_at_once_and_nothing_is_sent_after_it(tmp_path, number):
    events, sent_before = [], []

    def stop():
        sent_before.append(len(server.calls))
        os.kill(os.getpid(), number)

    def respond(call):
        if len(server.calls) == 1:
            threading.Timer(1.0, stop).start()
        return Reply.error(429, retry_after="60")

    with FakeOpenAIServer(respond=respond) as server:
        progress = pillm.Progress("label", (events.append,))
        with pytest.raises(pillm.Interrupted, match="same command resumes"):
            pillm.label(prompts(30), teacher(server, concurrency=4), tmp_path, progress=progress)
        assert time.monotonic() - server.calls[0].at < 30
        assert len(server.calls) == sent_before[0]
    assert [event.message[:9] for event in events if event.kind == "warning"] == ["stopping:"]


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
    monkeypatch.setattr("pillm_openai.wire.MAX_BODY", 10_000)
    with FakeOpenAIServer([Reply.text("a" * 20_000)]) as server:
        assert one(server).kind == "server"
