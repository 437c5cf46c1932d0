"""A shell that stays open on another machine: files are read and commands run there without a new process for each."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from pillm.errors import Unavailable
from pillm.remote.connection import quoted
from pillm.remote.conversation import Conversation
from pillm.remote.endings import failure

if TYPE_CHECKING:
    from pillm.remote.machine import Remote

_PATIENCE = 30.0
_SERVE = """lines() { while IFS= read -r line || [ -n "$line" ]; do printf '|%s\\n' "$line"; done; }
look() { if [ -r "$1" ] && [ -f "$1" ]; then lines <"$1"; echo 0; else echo 1; fi 2>/dev/null; }
ask() { said=$("$@" 2>&1 </dev/null); code=$?; printf '%s' "$said" | lines; echo "$code"; }
while IFS= read -r asked; do eval "$asked"; done
"""
"""A file is read by the shell itself: beside a measurement, a process for each of six sensors each second would be felt."""


@dataclass(slots=True)
class OpenShell:
    """A machine whose small files are read and commands are run through one shell; it ends with `close` or the connection."""

    remote: Remote
    _talk: Conversation | None = None
    _busy: threading.Lock = field(default_factory=threading.Lock)

    @property
    def label(self) -> str:
        """Return what messages call it."""
        return self.remote.label

    def read(self, path: str) -> str | None:
        """Return the text of a small file there, or None where it cannot be read; raise Unavailable where ssh fails."""
        if "\n" in path:
            return self.remote.read(path)
        code, text = self._told(["look", path], _PATIENCE)
        return None if code else text

    def run(self, argv: Sequence[str], *, timeout: float = 60.0) -> str:
        """Run a command there and return what it said; see `pillm.Machine` for what it raises."""
        if any("\n" in word for word in argv):
            return self.remote.run(argv, timeout=timeout)
        code, text = self._told(["ask", *argv], timeout)
        if code:
            raise failure(self.remote.host, argv[0], code, text)
        return text

    def _told(self, words: Sequence[str], timeout: float) -> tuple[int, str]:
        """Return the status and the lines that come back; what was asked in vain is not asked again."""
        with self._busy:
            if self._talk is None:
                self._talk = Conversation(self.remote, "the look at the machine", ["sh", "-c", _SERVE])
            lines: list[str] = []
            try:
                line = self._talk.ask(quoted(words), timeout=timeout)
                while line.startswith("|"):
                    lines.append(line[1:])
                    line = self._talk.hear(timeout=timeout)
                if not line.isdigit():
                    raise Unavailable(f"{self.remote.host}: the shell there said {line[:80]!r}.")
            except BaseException:
                self._end()  # else its late answer would be taken for the next one
                raise
            return int(line), "".join(f"{one}\n" for one in lines)

    def _end(self) -> None:
        talk, self._talk = self._talk, None
        if talk is not None:
            talk.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the shell there; the next question opens it anew."""
        with self._busy:
            self._end()
