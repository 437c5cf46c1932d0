"""A line to a server as its callers see it: pauses to the millisecond, limits per minute, stops, bugs."""

import signal
import time
from email.utils import formatdate

import pytest
from pillm_openai.errand import Errand
from pillm_openai.line import Line, Patience
from pillm_openai.pace import Limits
from pillm_openai_asking import one, requests, teacher
from pillm_openai_hostile import Hostile, Trick, Watch

import pillm
from pillm.testing import FakeOpenAIServer, Reply

PATIENCE = Patience(timeout=5, max_wait=300, max_retries=5, backoff=0.0)


@pytest.mark.parametrize("header", ["retry-after", "retry-after-ms"])
def test_no_request_is_sent_inside_a_pause_whoever_was_told(header, monkeypatch):
    pauses = {3: 0.4, 20: 0.4, 21: 0.25, 40: 0.317}

    def choose(number, text):
        return Trick("refuses", pauses[number], header) if number in pauses else Trick("answers")

    with Hostile(choose, delay=0.02, watch=Watch(monkeypatch)) as server:
        results = [result for _, result in teacher(server, concurrency=8).answer(requests(80))]
    assert all(isinstance(result, pillm.Answer) for result in results)
    assert server.ledger.inside_a_pause == 0
    assert server.ledger.calls == 84


def test_a_date_to_wait_for_is_read_on_the_servers_own_clock():
    def date(seconds):
        return formatdate(time.time() + seconds, usegmt=True)

    ahead = Reply(status=429, body={}, headers={"Date": date(3600), "Retry-After": date(3601)})
    with FakeOpenAIServer([ahead]) as server:
        assert one(server).content == "ÇA 0"
    assert 0.9 <= server.calls[1].at - server.calls[0].at < 4


def test_requests_per_minute_are_kept():
    with FakeOpenAIServer() as server:
        assert len(list(teacher(server, rpm=600, concurrency=50).answer(requests(25)))) == 25
    at = sorted(call.at for call in server.calls)
    assert at[-1] - at[0] >= 1.4  # ten at once, then ten in a second
    assert len([when for when in at if when - at[0] < 0.5]) <= 16


def test_rows_that_the_limit_does_not_let_out_are_not_pulled():
    pulled = []

    def counted():
        for request in requests(6):
            pulled.append(time.monotonic())
            yield request

    with FakeOpenAIServer() as server:
        list(teacher(server, rpm=120, concurrency=50).answer(counted()))
        sent = [call.at for call in server.calls]
    assert all(after - before < 0.3 for before, after in zip(sorted(pulled), sorted(sent), strict=True))
    assert pulled[5] - pulled[0] > 1.5


def test_tokens_per_minute_are_reserved_by_estimate_and_corrected_by_what_was_used():
    with FakeOpenAIServer() as server:
        began = time.monotonic()
        list(teacher(server, tpm=60_000, max_tokens=900, concurrency=4).answer(requests(12)))
        assert time.monotonic() - began < 5  # each reserves 901 and uses 9: uncorrected, it would take ten seconds
        began = time.monotonic()
        list(teacher(server, tpm=600, max_tokens=9, concurrency=4).answer(requests(4)))
        assert time.monotonic() - began > 1  # ten a second; each uses nine


def test_what_the_servers_headers_say_is_left_is_obeyed():
    said = {"x-ratelimit-limit-requests": "10", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "5s"}
    replies = [Reply(body=Reply.text("a").body, headers=said)]
    with FakeOpenAIServer(replies) as server:
        list(teacher(server, concurrency=1).answer(requests(2)))
    assert server.calls[1].at - server.calls[0].at >= 0.45  # ten in five seconds


def test_a_server_that_answers_429_gets_fewer_at_once():
    inside, most_late = [], []

    def respond(call):
        inside.append(call)
        try:
            if len(inside) > 6:
                return Reply.error(429)
            time.sleep(0.02)
            if len(server.calls) > 250:
                most_late.append(len(inside))
            return Reply.text("a")
        finally:
            inside.pop()

    with FakeOpenAIServer(respond=respond) as server:
        asked = teacher(server, concurrency=32, backoff=0.01, max_retries=50)
        results = [result for _, result in asked.answer(requests(300))]
        line_calls = len(server.calls)
    assert all(isinstance(result, pillm.Answer) for result in results)
    assert line_calls < 600, f"{line_calls} calls for 300 answers"


def test_a_wait_that_a_signal_interrupts_at_its_end_ends():
    line = Line("http://127.0.0.1:9/v1", "", PATIENCE, Limits(concurrency=1), near=True)
    errand = Errand(line)
    heard = signal.signal(signal.SIGALRM, lambda *_: time.sleep(0.002))
    try:
        began = time.monotonic()
        for _ in range(100):
            signal.setitimer(signal.ITIMER_REAL, 0.0099)
            assert errand.take(0.01) is None
        assert time.monotonic() - began < 20
    finally:
        signal.signal(signal.SIGALRM, heard)
        line.close()


def test_a_bug_on_the_line_is_raised_where_the_answers_are_taken(monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("pillm_openai.line.answer_of", broken)
    with FakeOpenAIServer() as server, pytest.raises(ZeroDivisionError):
        list(teacher(server, concurrency=2).answer(requests(3)))


def test_two_answers_at_once_on_one_open_teacher_do_not_mix():
    with FakeOpenAIServer(respond=lambda call: Reply.text(call.text, delay=0.01)) as server:
        with teacher(server, concurrency=4).open() as opened:
            first, second = opened.answer(requests(20)), opened.answer(requests(20))
            pairs = [pair for both in zip(first, second, strict=True) for pair in both]
        assert server.most_at_once <= 4
    assert all(result.content == request.prompt.text for request, result in pairs)
    assert len(pairs) == 40
