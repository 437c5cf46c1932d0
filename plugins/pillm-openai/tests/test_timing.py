"""When tokens arrive is told by a stream, and what a server cannot be timed at is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pillm_openai.runner import ServerRunner
from pillm_openai_natives import Told, file, listing, streamed

import pillm

ROW = pillm.Prompt(id="a", messages=({"role": "user", "content": "hello"},), schema={"type": "object"})


def chunk(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"delta": delta}]}


def test_a_reply_is_timed_from_the_first_thing_that_it_says(tmp_path: Path) -> None:
    events = (chunk(role="assistant", content=None), chunk(reasoning_content="hm"), chunk(content="a"), chunk(content="b"),
              {"choices": [], "timings": {"cache_n": 7}})  # fmt: skip
    model = file(tmp_path)
    served = {"v1__models": listing("m"), "v1__chat__completions": streamed(*events)}
    with (
        Told(**served, props={"model_path": "student.gguf"}) as server,
        ServerRunner(base_url=server.url).open(model) as session,
    ):
        assert isinstance(session, pillm.Timer)
        found = session.reply(ROW, constrained=True, fresh=True)
        assert (len(found.gaps_ms), found.cached, found.first_ms > 0) == (2, 7, True)
        sent = server.asked[-1][1]
        assert (sent["stream"], sent["cache_prompt"], "response_format" in sent) == (True, False, True)
        session.reply(ROW, constrained=False, fresh=False)
        sent = server.asked[-1][1]
        assert (sent["cache_prompt"], "response_format" in sent) == (True, False)


def test_another_server_is_streamed_without_llama_servers_own_words(tmp_path: Path) -> None:
    served = {"v1__models": listing("m"), "v1__chat__completions": streamed(chunk(content="a"))}
    with Told(**served) as server, ServerRunner(base_url=server.url, logprobs=2).open(file(tmp_path)) as session:
        assert isinstance(session, pillm.Timer)
        assert session.reply(ROW, constrained=False, fresh=True).gaps_ms == ()
        sent = server.asked[-1][1]
        assert not {"cache_prompt", "logprobs", "top_logprobs"} & sent.keys()
        with pytest.raises(pillm.BackendError, match="tells no timings"):
            session.bench(pillm.BenchPlan(pp=8, tg=4, repetitions=1))


@pytest.mark.parametrize("work", [{"depth": 8}, {"threads": 2}])
def test_what_a_server_cannot_be_told_is_named(tmp_path: Path, work: dict[str, int]) -> None:
    with Told(v1__models=listing("m")) as server, ServerRunner(base_url=server.url).open(file(tmp_path)) as session:
        assert isinstance(session, pillm.Timer)
        with pytest.raises(pillm.BackendError, match="timed as it was started"):
            session.time(pillm.BenchWork(kind="pp", tokens=8, **work))


def test_a_stream_without_an_answer_is_an_error(tmp_path: Path) -> None:
    served = {"v1__models": listing("m"), "v1__chat__completions": streamed(chunk(content=""))}
    with Told(**served) as server, ServerRunner(base_url=server.url).open(file(tmp_path)) as session:
        assert isinstance(session, pillm.Timer)
        with pytest.raises(pillm.BackendError, match="streamed no token of an answer to a"):
            session.reply(ROW, constrained=False, fresh=True)
