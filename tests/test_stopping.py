"""A signal stops the sending and no more: what is in flight is stored."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from pillm.errors import Interrupted
from pillm.progress import Event, Progress
from pillm.records import Answer, Failure, Prompt, Request
from pillm.rows import prompt_from_row
from pillm.stages.labelling import label
from pillm.stages.stopping import stopping
from pillm.testing import EchoTeacher


def prompts(count: int) -> list[Prompt]:
    return [prompt_from_row({"id": f"r{i}", "user": f"question {i}"}) for i in range(count)]


def test_a_signal_is_told_of_before_the_teacher_asks_for_more(tmp_path: Path) -> None:
    events: list[Event] = []

    class Slow(EchoTeacher):
        """Is interrupted while it works, and looks whether that was told."""

        name: ClassVar[str] = "slow"

        def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
            first = next(requests)
            os.kill(os.getpid(), signal.SIGTERM)
            deadline = time.monotonic() + 30
            while not any(event.kind == "warning" for event in events) and time.monotonic() < deadline:
                time.sleep(0.01)
            yield first, Answer("finished")

    with pytest.raises(Interrupted, match=r"1 answered.*1 pending"):
        label(prompts(2), Slow(), tmp_path, progress=Progress("label", (events.append,)))
    assert [event.message for event in events if event.kind == "warning"] == [
        "stopping: what is in flight is still stored; a second signal stops at once"
    ]


class Work:
    interrupted = False
    progress = Progress("x")


def test_the_signals_mean_what_they_meant_before_when_the_work_is_done() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    work = Work()
    with stopping(work):
        assert signal.getsignal(signal.SIGTERM) is not before[1]
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + 5
        while not work.interrupted and time.monotonic() < deadline:
            time.sleep(0.01)
    assert work.interrupted
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_another_thread_than_the_main_one_leaves_signals_alone() -> None:
    heard = []

    def run() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with stopping(Work()):
            heard.append(signal.getsignal(signal.SIGTERM) is before)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert heard == [True]
