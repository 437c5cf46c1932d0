"""One exchange with a server: bounds of size and time, encodings, connections."""

import asyncio
import gzip
import threading
import time

import pytest
from pillm_openai import wire
from pillm_openai.faults import Fault
from pillm_openai_asking import SECRET, one, requests, teacher
from pillm_openai_hostile import Hostile, Trick

import pillm
from pillm.testing import FakeOpenAIServer, Reply


def test_an_answer_that_is_packed_is_unpacked():
    body = b'{"choices": [{"message": {"content": "' + b"oui " * 1000 + b'"}}]}'
    for encoding, packed in (("gzip", gzip.compress(body, mtime=0)), ("identity", body)):
        reply = Reply(body=packed, headers={"Content-Encoding": encoding})
        with FakeOpenAIServer([reply]) as server:
            assert one(server).content == "oui " * 1000
            assert server.calls[0].headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("encoding", "body"), [("br", b"\x00\x01"), ("gzip", b"no gzip"), ("gzip", gzip.compress(b"{}" * 99, mtime=0)[:20])]
)
def test_an_answer_that_cannot_be_unpacked_is_a_failure_that_may_pass(encoding, body):
    with FakeOpenAIServer([Reply(body=body, headers={"Content-Encoding": encoding})]) as server:
        assert one(server).content == "ÇA 0"
        assert len(server.calls) == 2


def test_a_small_answer_that_unpacks_into_a_big_one_is_cut():
    bomb = gzip.compress(b"0" * (64 * 2**20))
    assert len(bomb) < 100_000
    with FakeOpenAIServer([Reply(body=bomb, headers={"Content-Encoding": "gzip"})]) as server:
        failure = one(server)
    assert (failure.kind, failure.stop) == ("server", False)
    assert "longer than 32 MiB" in failure.message


@pytest.mark.parametrize("announced", [True, False])
def test_fifty_megabytes_are_not_read(announced):
    with Hostile(lambda number, text: Trick("huge" if announced else "huge unannounced")) as server:
        failure = one(server, max_retries=0)
    assert "longer than 32 MiB" in failure.message
    assert server.written < 42 * 2**20, f"{server.written} bytes were taken"


def test_a_server_that_stops_in_the_middle_is_left_after_a_while(monkeypatch):
    monkeypatch.setattr("pillm_openai.wire.LONGEST_SILENCE", 0.3)
    with Hostile(lambda number, text: Trick("stalls") if number == 0 else Trick("answers")) as server:
        began = time.monotonic()
        answer = one(server, timeout=30)
    assert answer.timings["attempts"] == 2
    assert time.monotonic() - began < 10


def test_a_server_that_drips_is_left_when_the_time_is_over():
    with Hostile(lambda number, text: Trick("drips")) as server:
        failure = one(server, timeout=0.5, max_retries=0)
    assert failure.kind == "network"
    assert "not complete within 0.5 s" in failure.message


def test_a_cut_answer_is_tried_again():
    with Hostile(lambda number, text: Trick("cut") if number < 2 else Trick("answers")) as server:
        assert one(server).timings["attempts"] == 3


def test_the_key_follows_no_redirection_and_nothing_tells_what_machine_this_is():
    with FakeOpenAIServer() as elsewhere:
        to = {"Location": f"{elsewhere.base_url}/chat/completions"}
        with FakeOpenAIServer([Reply(status=308, headers=to)]) as server:
            assert one(server).stop
            sent = server.calls[0].headers
    assert elsewhere.calls == []
    assert sent["authorization"] == f"Bearer {SECRET}"
    assert not [name for name in sent if name.startswith("x-stainless")]


def test_the_wire_shows_its_server_and_never_its_key():
    made = wire.Wire("http://127.0.0.1:9/v1", SECRET, timeout=1, near=True, most=1)
    assert repr(made) == "Wire(127.0.0.1:9)"
    asyncio.run(made.close())


def test_a_server_that_nobody_runs_is_told_from_one_that_hangs_up():
    with FakeOpenAIServer([Reply(dropped=True)]) as server:
        broke = one(server, max_retries=0)
    gone = one(server, max_retries=0)
    assert (broke.kind, broke.stop) == ("network", False)
    assert "the connection broke" in broke.message
    assert (gone.kind, gone.stop) == ("network", True)


def test_an_abandoned_exchange_gives_its_connection_up_and_leaves_no_thread():
    with FakeOpenAIServer(respond=lambda call: Reply.text("late", delay=1.0)) as server:
        failures = [result for _, result in teacher(server, timeout=0.2, max_retries=1, concurrency=2).answer(requests(2))]
    assert all(isinstance(failure, pillm.Failure) for failure in failures)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pillm-openai")]


def test_a_fault_says_no_key():
    fault = Fault("network", f"it broke {SECRET}")
    assert SECRET not in fault.failure(1, SECRET).message
