from __future__ import annotations

import os
import re
import signal
from itertools import count

import pytest
from pillm_llamacpp.inference.session import LocalSession
from pillm_llamacpp.runner import LocalRunner
from pillm_llamacpp_tiny import request

import pillm


def crash_on(
    session: LocalSession, monkeypatch: pytest.MonkeyPatch, *culprits: int, by: signal.Signals = signal.SIGSEGV
) -> None:
    """Make the process die, truly, whenever it is sent one of these rows."""
    packet = session._packet

    def deadly(asked: pillm.Request, number: int) -> object:
        if asked.prompt.id in {f"row-{culprit}" for culprit in culprits}:
            os.kill(session.worker_pid, by)
        return packet(asked, number)

    monkeypatch.setattr(session, "_packet", deadly)


def test_a_killed_worker_is_started_again_and_no_row_is_lost(gguf: pillm.ModelFile) -> None:
    with LocalRunner(max_tokens=8).open(gguf) as session:
        assert isinstance(session, LocalSession)
        os.kill(session.worker_pid, signal.SIGKILL)
        ((_, result),) = session.answer(iter([request()]))
    assert isinstance(result, pillm.Answer)


@pytest.mark.parametrize(
    ("by", "kind", "reason"),
    [
        (signal.SIGSEGV, "crashed", "llama.cpp crashed (SIGSEGV)"),
        (signal.SIGABRT, "crashed", "one of its own checks failed (SIGABRT)"),
        (signal.SIGKILL, "server", "most often because memory ran out (SIGKILL)"),
        (signal.SIGTERM, "server", "told to stop (SIGTERM)"),
    ],
)
def test_a_row_that_ends_llama_cpp_fails_alone_and_for_good_only_where_llama_cpp_crashed_itself(
    by: signal.Signals, kind: str, reason: str, gguf: pillm.ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalRunner(max_tokens=2, parallel=2).open(gguf) as session:
        assert isinstance(session, LocalSession)
        crash_on(session, monkeypatch, 5, by=by)
        said = {asked.prompt.id: result for asked, result in session.answer(request("Oui", n) for n in range(12))}
    assert len(said) == 12
    failed = {name: result for name, result in said.items() if isinstance(result, pillm.Failure)}
    assert list(failed) == ["row-5"]
    assert failed["row-5"].kind == kind
    assert reason in failed["row-5"].message


def test_a_row_that_ends_the_worker_by_an_error_of_its_own_has_crashed_it(
    gguf: pillm.ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalRunner(max_tokens=2, parallel=2).open(gguf) as session:
        assert isinstance(session, LocalSession)
        packet = session._packet
        monkeypatch.setattr(session, "_packet", lambda asked, number: {**packet(asked, number), "max_tokens": "many"})
        ((_, failed),) = session.answer(iter([request()]))
    assert isinstance(failed, pillm.Failure)
    assert failed.kind == "crashed"
    assert "TypeError" in failed.message


def test_what_to_do_about_a_killed_worker_is_said_before_what_it_said_last(
    gguf: pillm.ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalRunner(max_tokens=2, parallel=1).open(gguf) as session:
        assert isinstance(session, LocalSession)

        def deadly(*_: object) -> object:
            session._worker._log.write(b"load_tensors\n")
            os.kill(session.worker_pid, signal.SIGKILL)
            return {}

        monkeypatch.setattr(session, "_packet", deadly)
        results = session.answer(request("Oui", n) for n in range(12))
        _, failed = next(results)
        assert isinstance(failed, pillm.Failure)
        # a second packet may be written before the death is noticed
        assert re.search(r"takes less memory\.\nIt last said:(\nload_tensors)+$", failed.message)
        with pytest.raises(pillm.BackendError, match=r"this was the last\.\nIt last said:(\nload_tensors)+$"):
            list(results)


def test_a_model_that_crashes_again_and_again_is_an_error(gguf: pillm.ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalRunner(max_tokens=2, parallel=1).open(gguf) as session:
        assert isinstance(session, LocalSession)
        crash_on(session, monkeypatch, *range(12))
        with pytest.raises(pillm.BackendError, match="started again 5 times"):
            list(session.answer(request("Oui", n) for n in range(12)))


def test_a_consumer_that_stops_early_leaves_the_session_usable(gguf: pillm.ModelFile) -> None:
    pulled = []

    def endless() -> object:
        for number in count():
            pulled.append(number)
            yield request("Bonjour", number)

    with LocalRunner(max_tokens=4).open(gguf) as session:
        stream = session.answer(endless())  # type: ignore[arg-type]
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert len(pulled) <= 16
        ((asked, result),) = session.answer(iter([request("Encore", 99)]))
    assert asked.prompt.id == "row-99"
    assert isinstance(result, pillm.Answer)
