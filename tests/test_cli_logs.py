"""Where log records go."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pillm import StorageError
from pillm.cli.logs import _File, keep_log, log_end, log_event, start_logging
from pillm.progress import Event

log = logging.getLogger("pillm.something")


def test_verbosity_chooses_what_stderr_gets(capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    for verbosity in (-5, -2, -1, 0, 1, 2, 3):
        start_logging(verbosity, None)
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            log.log(level, "%s", logging.getLevelName(level).lower())
        said[verbosity] = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()]
    assert said == {
        -5: ["error"],
        -2: ["error"],
        -1: ["warning", "error"],
        0: ["warning", "error"],
        1: ["info", "warning", "error"],
        2: ["debug", "info", "warning", "error"],
        3: ["debug", "info", "warning", "error"],
    }


def test_a_log_waits_until_its_folder_exists(tmp_path: Path) -> None:
    start_logging(0, None)
    keep_log(tmp_path / "run" / "pillm.log")
    log.info("early")
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    log.info("late")
    assert [line.rpartition(": ")[2] for line in (tmp_path / "run" / "pillm.log").read_text("utf-8").splitlines()] == [
        "early",
        "late",
    ]


def test_a_log_turns_over_when_it_grows(tmp_path: Path) -> None:
    start_logging(0, None)
    keep_log(tmp_path / "pillm.log")
    handler = next(each for each in logging.getLogger("pillm").handlers if isinstance(each, _File))
    handler.maxBytes = 200
    for number in range(20):
        log.info("record %s", number)
    assert (tmp_path / "pillm.log.1").is_file()


def test_events_and_the_end_go_to_the_log_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start_logging(0, tmp_path / "x.log")
    log_event(Event(kind="warning", stage="train", at="", message="hot"))
    log_event(Event(kind="advance", stage="train", at="", done=1))
    log_end("exit 1: full")
    assert capsys.readouterr().err == ""
    text = (tmp_path / "x.log").read_text("utf-8")
    assert "WARNING pillm.progress: train: warning hot" in text
    assert "exit 1: full" in text
    assert "advance" not in text


def test_a_log_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        start_logging(0, tmp_path / "nosuch" / "x.log")
