"""The progress events as a person sees them."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from typing import Any

import pytest

from pillm.cli import progress_bar
from pillm.cli.progress_bar import Lines, Pace, clock, shown
from pillm.progress import Event, Progress


def event(kind: Any = "advance", **facts: Any) -> Event:
    """Return an event of a stage called train."""
    return Event(kind=kind, stage="train", at="", **facts)


def test_durations_are_read_off_a_clock() -> None:
    assert [clock(seconds) for seconds in (5, 65, 3665)] == ["0:05", "1:05", "1:01:05"]


def test_rate_and_remaining_time_come_from_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: now[0])
    pace = Pace()
    now[0] += 10
    assert pace.of(event(done=50, total=100)) == ("5.0 rows/s", "0:10 left")
    assert Pace().of(event(done=50, total=100)) == ()
    assert pace.of(event(done=1, total=100)) == ("10.0 s/row", "16:30 left")
    assert pace.of(event(done=20000, unit="tokens")) == ("2,000 tokens/s",)
    assert pace.of(event(done=100, total=100)) == ("10.0 rows/s",)


def test_the_rate_is_that_of_the_last_minute_and_leaves_out_what_stood_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: now[0])
    pace = Pace()
    assert pace.of(event(done=1000, total=2000)) == ()
    for second in range(1, 11):
        now[0] = second
        told = pace.of(event(done=1000 + second, total=2000))
    assert told == ("1.0 rows/s", "16:30 left")
    for second in range(11, 200):
        now[0] = second
        told = pace.of(event(done=1010 + 3 * (second - 10), total=2000))
    assert told[0] == "3.0 rows/s"


def test_plain_lines_tell_every_start_and_end_and_an_advance_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: now[0])
    progress = Progress("train", (Lines(),))
    progress.start(3, "steps")
    for _ in range(3):
        now[0] += 3
        progress.advance(loss=0.5)
    progress.note("a note")
    progress.warn("a warning")
    progress.finish("well")
    progress.for_stage("export").up_to_date()
    assert capsys.readouterr().err.splitlines() == [
        "train: 3 steps",
        "train: 2/3 steps, 3.0 s/step, 0:03 left, loss 0.5",
        "train: a note",
        "train: warning: a warning",
        "train: done in 9.0 s: well",
        "export: up to date",
    ]


def test_quiet_lets_only_warnings_through(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("train", (Lines(quiet=True),))
    progress.start(1)
    progress.warn("careful")
    progress.finish()
    assert capsys.readouterr().err == "train: warning: careful\n"


def test_a_stream_that_is_no_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with shown() as reader:
        assert isinstance(reader, Lines)


SCRIPT = """
import time
from pillm.cli.progress_bar import shown
from pillm.progress import Progress
with shown() as reader:
    progress = Progress("train", (reader,))
    progress.start(10, "steps")
    for _ in range(10):
        time.sleep(0.08)
        progress.advance(loss=0.25)
    progress.finish("well")
"""


def test_a_terminal_gets_a_bar_with_rate_remaining_time_and_figures() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "NO_COLOR": "1"}
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stderr=theirs, stdout=theirs, env=environment) as process:
        os.close(theirs)
        seen = b""
        try:
            while chunk := os.read(ours, 65536):
                seen += chunk
        except OSError:  # the other end is closed
            pass
        process.wait()
    os.close(ours)
    text = seen.decode()
    for word in ("train", "━", "/10", "steps/s", "left", "loss 0.25", "train: done in"):
        assert word in text, word
