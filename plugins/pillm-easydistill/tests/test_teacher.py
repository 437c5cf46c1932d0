"""The teacher asks a real server through version 2's stand-in, and tells what became of every row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pillm_easydistill import EasyDistillTeacher

import pillm
from pillm.testing import Call, FakeOpenAIServer, Reply, check_teacher

Standin = Callable[..., Path]
SECRET = "sk-never-to-be-seen"


def requests(*asked: Any, tools: tuple[dict[str, Any], ...] = ()) -> list[pillm.Request]:
    made = []
    for number, one in enumerate(asked):
        messages = one if isinstance(one, tuple) else ({"role": "user", "content": one},)
        made.append(pillm.Contract().request(pillm.Prompt(id=f"p{number}", messages=messages, tools=tools), {}))
    return made


def ask(server: FakeOpenAIServer, asked: list[pillm.Request], **options: Any) -> dict[str, pillm.Answer | pillm.Failure]:
    teacher = EasyDistillTeacher(model="m", base_url=server.base_url, **options)
    return {request.prompt.id: result for request, result in teacher.answer(iter(asked))}


def test_the_teacher_conforms(standin: Standin) -> None:
    standin("v2")
    with FakeOpenAIServer() as server:
        said = check_teacher(EasyDistillTeacher(model="m", base_url=server.base_url))
    assert [getattr(one, "content", "") for one in said][3] == "WHAT IS TWO AND TWO?"


def test_an_answer_says_who_gave_it_and_what_it_took(standin: Standin) -> None:
    standin("v2")
    system = ({"role": "system", "content": "Réponds $5 fort."}, {"role": "user", "content": "fin de\u2028l'été"})
    with FakeOpenAIServer() as server:
        found = ask(server, requests(system), temperature=0.5, max_tokens=9)["p0"]
        [call] = server.calls
    assert isinstance(found, pillm.Answer)
    assert (found.content, found.model, found.finish_reason) == ("FIN DE\u2028L'ÉTÉ", "fake-model-2026", "stop")
    assert found.usage == pillm.Usage(prompt_tokens=7, completion_tokens=3)
    assert call.body["messages"] == list(system)
    assert (call.body["temperature"], call.body["max_tokens"]) == (0.5, 9)


def test_an_answer_as_long_as_is_allowed_was_cut(standin: Standin) -> None:
    standin("v2")
    with FakeOpenAIServer() as server:
        found = ask(server, requests("one two"), max_tokens=2)["p0"]
    assert getattr(found, "finish_reason", "") == "length"


def test_a_chain_of_thought_is_told_apart_from_the_solution(standin: Standin) -> None:
    standin("v2")
    said = "<|begin_of_thought|>2 and 2\n<|end_of_thought|>\n<|begin_of_solution|>4<|end_of_solution|>"
    with FakeOpenAIServer(respond=lambda _: Reply.text(said)) as server:
        asked = requests("what is 2 + 2?", ({"role": "system", "content": "s"}, {"role": "user", "content": "u"}), "and 3?")
        found = ask(server, asked, job_type="cot_distill")
        assert all(call.text.startswith("Think step by step") for call in server.calls)
    for answered in (found["p0"], found["p2"]):
        assert isinstance(answered, pillm.Answer)
        assert (answered.content, answered.reasoning) == ("4", "2 and 2")
    refused = found["p1"]
    assert isinstance(refused, pillm.Failure)
    assert "without a system message" in refused.message


def test_rows_that_the_job_cannot_say_are_refused_and_not_sent(standin: Standin) -> None:
    standin("v2")
    turns = tuple({"role": role, "content": "a"} for role in ("user", "assistant", "user"))
    with FakeOpenAIServer() as server:
        found = ask(server, [*requests(turns, "", "fine"), *requests("call", tools=({"name": "f"},))[:1]])
        assert [call.text for call in server.calls] == ["fine"]
    assert found["p2"] == pillm.Answer("FINE", usage=pillm.Usage(prompt_tokens=7, completion_tokens=1), model="fake-model-2026")
    for name in ("p0", "p1"):
        assert isinstance(found[name], pillm.Failure)


@pytest.mark.parametrize(
    ("reply", "kind", "stop"),
    [
        (Reply.error(401, f"Incorrect API key provided: {SECRET}"), "credentials", True),
        (Reply.error(429, "You exceeded your current quota", code="insufficient_quota"), "quota", True),
        (Reply.error(429, "slow down"), "rate", False),
        (Reply.error(503, "overloaded"), "server", False),
        (Reply.error(400, "too long"), "refused", False),
        (Reply(dropped=True), "network", False),
        (Reply.text(""), "invalid", False),
    ],
)
def test_a_dropped_row_is_a_failure_of_its_kind(
    reply: Reply, kind: str, stop: bool, standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 2 drops such rows with a line in its log, and ends with exit code 0."""
    standin("v2")
    monkeypatch.setenv("OWN_KEY", SECRET)

    def respond(call: Call) -> Reply:
        return reply if call.text == "bad" else Reply.text("good")

    with FakeOpenAIServer(respond=respond) as server:
        found = ask(server, requests("fine", "bad"), api_key_env="OWN_KEY")
    assert getattr(found["p0"], "content", "") == "good"
    failure = found["p1"]
    assert isinstance(failure, pillm.Failure)
    assert (failure.kind, failure.stop) == (kind, stop)
    assert SECRET not in failure.message


def test_a_job_that_dies_fails_its_rows_and_stops_the_asking(standin: Standin) -> None:
    standin("v2", fault="crash")
    pulled: list[str] = []
    with FakeOpenAIServer() as server:
        teacher = EasyDistillTeacher(model="m", base_url=server.base_url, chunk=2)
        feed = (pulled.append(request.prompt.id) or request for request in requests("a", "b", "c", "d"))
        results = [result for _, result in teacher.answer(feed)]
    assert pulled == ["p0", "p1"]
    assert results[0] == pillm.Failure(
        "crashed", "EasyDistill ended with exit code 1: MemoryError: no room for the data set", stop=True
    )


def test_a_server_that_is_not_there_is_a_network_failure(standin: Standin) -> None:
    standin("v2")
    with FakeOpenAIServer() as server:
        gone = server.base_url
    teacher = EasyDistillTeacher(model="m", base_url=gone)
    [(_, failure)] = teacher.answer(iter(requests("a")))
    assert isinstance(failure, pillm.Failure)
    assert (failure.kind, failure.stop) == ("network", True)


def test_half_a_line_costs_its_row_alone(standin: Standin) -> None:
    standin("v2", fault="half a line")
    with FakeOpenAIServer() as server:
        found = ask(server, requests("a"))["p0"]
    assert found == pillm.Failure("invalid", "EasyDistill dropped the row: the answer was empty, or never written.")


def test_nothing_more_is_pulled_once_the_asking_is_to_stop(standin: Standin) -> None:
    standin("v2")

    class Feed:
        stopping = False

        def __init__(self) -> None:
            self.rest = iter(requests("a", "b", "c"))

        def __iter__(self) -> Feed:
            return self

        def __next__(self) -> pillm.Request:
            return next(self.rest)

    feed, seen = Feed(), []
    with FakeOpenAIServer() as server:
        for request, _ in EasyDistillTeacher(model="m", base_url=server.base_url, chunk=1).answer(feed):
            seen.append(request.prompt.id)
            feed.stopping = True
    assert seen == ["p0"]


def test_the_key_is_never_written(standin: Standin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Version 2 puts the variable's value into its configuration itself."""
    standin("v2")
    monkeypatch.setenv("OWN_KEY", SECRET)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen: list[bytes] = []

    def respond(call: Call) -> Reply:
        assert call.headers["authorization"] == f"Bearer {SECRET}"
        seen.extend(path.read_bytes() for path in tmp_path.glob("pillm-easydistill-*/*") if path.is_file())
        return Reply.text("x")

    with FakeOpenAIServer(respond=respond) as server:
        assert isinstance(ask(server, requests("a"), api_key_env="OWN_KEY")["p0"], pillm.Answer)
    assert any(b"${OWN_KEY}" in content for content in seen)
    assert not any(SECRET.encode() in content for content in seen)
    assert not list(tmp_path.glob("pillm-easydistill-*"))


def test_a_missing_key_and_a_key_in_clear_are_refused(standin: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    standin("v2")
    monkeypatch.delenv("OWN_KEY", raising=False)
    with pytest.raises(pillm.Unavailable, match="OWN_KEY is not set"):
        EasyDistillTeacher(model="m", base_url="https://example.org/v1", api_key_env="OWN_KEY").check()
    monkeypatch.setenv("OWN_KEY", SECRET)
    with pytest.raises(pillm.UnsafeError, match="would travel in clear"):
        EasyDistillTeacher(model="m", base_url="http://example.org/v1", api_key_env="OWN_KEY").check()


@pytest.mark.parametrize(
    "options",
    [{"base_url": "http://a/$HOME"}, {"model": "${USER}"}, {"cot_prompt": "no place"}, {"base_url": "ftp://a"}, {"chunk": 0}],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|greater"):
        EasyDistillTeacher(**{"model": "m", "base_url": "http://127.0.0.1:1/v1", **options})
