"""Where log records go: to stderr for the person, to a rotating file for later."""

from __future__ import annotations

import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

from pillm.errors import StorageError

if TYPE_CHECKING:
    from pillm.progress import Event

LOG_BYTES, LOG_FILES = 5 * 1024 * 1024, 3
PROGRESS = "pillm.progress"
LEVELS = (logging.ERROR, logging.WARNING, logging.WARNING, logging.INFO, logging.DEBUG)
"""What stderr gets from -qq to -vv."""
DECISIONS = {"up-to-date": "its result stands: nothing it depends on changed", "finish": "made anew"}
log = logging.getLogger(__name__)
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _Stderr(logging.Handler):
    """Writes records to the stderr of the moment, so that a progress bar can stand below them."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != PROGRESS:  # the progress bar shows those already
            print(f"{record.levelname.lower()}: {record.getMessage()}", file=sys.stderr)


class _File(RotatingFileHandler):
    """Appends to a file as soon as its folder exists, and turns it over when it grows."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8", delay=True)
        self.setFormatter(logging.Formatter(LOG_FORMAT))
        self._folder = path.parent
        self._waiting: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._waiting.append(record)
        if self._folder.is_dir():
            waiting, self._waiting = self._waiting, []
            for earlier in waiting:
                super().emit(earlier)


def start_logging(verbosity: int, log_file: Path | None) -> None:
    """Send the records of pillm to stderr, as many as the verbosity asks for, and all of them to the file."""
    log = logging.getLogger("pillm")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    for old in [handler for handler in log.handlers if isinstance(handler, (_Stderr, _File))]:
        log.removeHandler(old)  # one process may run several commands
        old.close()
    stderr = _Stderr(level=LEVELS[max(-2, min(2, verbosity)) + 2])
    log.addHandler(stderr)
    if log_file:
        try:
            with log_file.open("a"):
                pass
        except OSError as error:
            raise StorageError(f"the log file {log_file} cannot be written ({error.strerror}). Choose another one.") from error
        keep_log(log_file)


def keep_log(path: Path) -> None:
    """Also write the records to this file, from the moment its folder exists."""
    logging.getLogger("pillm").addHandler(_File(path))


def log_end(message: str, *, exc_info: bool = False) -> None:
    """Write to the log, and to the log alone, what ended the command."""
    logging.getLogger(PROGRESS).error("%s", message, exc_info=exc_info)


def log_event(event: Event) -> None:
    """Write a progress event to the log; advances are for the bar alone."""
    if event.kind != "advance":
        if event.kind in DECISIONS:
            log.info("%s: %s", event.stage, DECISIONS[event.kind])
        level = logging.WARNING if event.kind == "warning" else logging.INFO
        said = event.message or (f"{event.total} {event.unit}" if event.total is not None else "")
        logging.getLogger(PROGRESS).log(level, "%s: %s %s", event.stage, event.kind, said)
