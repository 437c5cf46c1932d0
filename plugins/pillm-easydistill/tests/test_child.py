"""A child process: its lines, its end, and its environment."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pillm_easydistill import child


def run(tmp_path: Path, code: str, **environment: str) -> tuple[int, list[str]]:
    lines: list[str] = []
    argv = (sys.executable, "-c", code)
    ended = child.run(argv, folder=tmp_path, log=tmp_path / "log", environment=environment, on_line=lines.append)
    assert (tmp_path / "log").read_text("utf-8").splitlines() == lines
    return ended, lines


def test_both_streams_and_the_steps_of_a_bar_are_lines(tmp_path: Path) -> None:
    code = "import sys; print('out'); sys.stderr.write('1%\\r2%\\r'); sys.stdout.buffer.write(b'\\xff\\n'); sys.exit(5)"
    ended, lines = run(tmp_path, code)
    assert (ended, sorted(lines)) == (5, ["1%", "2%", "out", "\ufffd"])


def test_nothing_is_fetched_reported_or_read_that_nobody_asked_for(tmp_path: Path) -> None:
    code = "import os; print(*(os.environ[name] for name in ('HF_HUB_OFFLINE', 'PYTHON_DOTENV_DISABLED', 'MORE')))"
    assert run(tmp_path, code, MORE="yes") == (0, ["1 1 yes"])


def test_how_a_process_ended_is_said_in_words() -> None:
    assert [child.why(code) for code in (3, -9, -250)] == [
        "ended with exit code 3", "was ended by SIGKILL", "was ended by signal 250",
    ]  # fmt: skip


def test_a_command_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        child.run(("/nowhere",), folder=tmp_path, log=tmp_path / "log", environment={}, on_line=print)
