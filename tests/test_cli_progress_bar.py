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
from pillm.cli.progress_bar import Lines, Phase, bar_width, clock, figures, shown
from pillm.progress import Event, Progress


def event(kind: Any = "advance", **facts: Any) -> Event:
    """Return an event of a stage called train."""
    return Event(kind=kind, stage="train", at="", **facts)


def test_durations_are_read_off_a_clock() -> None:
    assert [clock(seconds) for seconds in (5, 65, 3665)] == ["0:05", "1:05", "1:01:05"]


def test_rate_and_remaining_time_come_from_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: now[0])
    phase = Phase()
    now[0] += 10
    assert phase.pace(event(done=50, total=100)) == ("5.0 rows/s", "0:10 left")
    assert Phase().pace(event(done=50, total=100)) == ()
    assert phase.pace(event(done=1, total=100)) == ("10.0 s/row", "16:30 left")
    assert phase.pace(event(done=20000, unit="tokens")) == ("2,000 tokens/s",)
    assert phase.pace(event(done=100, total=100)) == ("10.0 rows/s",)


def test_the_rate_is_that_of_the_last_minute_and_leaves_out_what_stood_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: now[0])
    phase = Phase()
    assert phase.pace(event(done=1000, total=2000)) == ()
    for second in range(1, 11):
        now[0] = second
        told = phase.pace(event(done=1000 + second, total=2000))
    assert told == ("1.0 rows/s", "16:30 left")
    for second in range(11, 200):
        now[0] = second
        told = phase.pace(event(done=1010 + 3 * (second - 10), total=2000))
    assert told[0] == "3.0 rows/s"


def test_bytes_are_said_as_sizes_with_percent_and_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: now[0])
    lines = Lines()
    lines(event("start", total=2_000_000_000, unit="bytes", message="fetch acme/tiny"))
    now[0] += 10
    told = {"percent": 25.0, "bytes_per_second": 5e7}
    lines(event(done=500_000_000, total=2_000_000_000, unit="bytes", figures=told))
    assert capsys.readouterr().err.splitlines() == [
        "train: fetch acme/tiny, 2.0 GB", "train: 0.5/2.0 GB (25 %), 50.0 MB/s, 0:30 left",
    ]  # fmt: skip


def test_figures_are_said_in_words_with_their_units_the_ones_that_matter_most_first() -> None:
    known = {"learning_rate": 2.93e-4, "memory_gib": 1.234, "tokens_per_second": 4321.7, "loss": 0.45678, "grad_norm": 1.5,
             "validation_accuracy": 0.9712, "validation_loss": 0.1234}  # fmt: skip
    assert figures(known) == (
        "loss 0.457", "4,322 tok/s", "1.2 GiB", "validation loss 0.123", "validation accuracy 97.1%", "learning rate 0.000293",
        "grad norm 1.5",
    )  # fmt: skip


def test_a_figure_stands_until_it_is_said_anew_and_tokens_take_the_place_of_the_other_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: now[0])
    phase = Phase()
    now[0] += 10
    step = event(done=50, total=100, figures={"loss": 0.5, "tokens_per_second": 450.0})
    assert phase.figures(step) == ("loss 0.5", "450 tok/s")
    assert phase.figures(event(done=50, figures={"validation_loss": 0.25})) == ("loss 0.5", "450 tok/s", "validation loss 0.25")
    assert phase.pace(step) == ("0:10 left",)


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


def on_a_terminal(script: str, columns: int) -> str:
    """Return what a program writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "NO_COLOR": "1"}
    with subprocess.Popen([sys.executable, "-c", script], stderr=theirs, stdout=theirs, env=environment) as process:
        os.close(theirs)
        seen = b""
        try:
            while chunk := os.read(ours, 65536):
                seen += chunk
        except OSError:  # the other end is closed
            pass
        process.wait()
    os.close(ours)
    return seen.decode()


def test_a_terminal_gets_a_bar_with_rate_remaining_time_and_figures() -> None:
    text = on_a_terminal(SCRIPT, 100)
    for word in ("train", "━", "/10", "steps/s", "left", "loss 0.25", "train: done in"):
        assert word in text, word


def test_a_terminal_of_80_columns_shows_loss_tokens_memory_and_remaining_time_and_cuts_nothing() -> None:
    told = "loss=0.25, tokens_per_second=4321.7, memory_gib=1.25, learning_rate=3e-4, validation_loss=0.125"
    text = on_a_terminal(SCRIPT.replace("loss=0.25", told), 80)
    for word in ("train", "━" * 5, "/10 steps", "left", "loss 0.25, 4,322 tok/s, 1.2 GiB"):
        assert word in text, word
    assert "…" not in text
    assert bar_width(80) < bar_width(120)
