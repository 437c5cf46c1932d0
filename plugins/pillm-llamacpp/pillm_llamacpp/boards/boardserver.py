"""A llama-server on a board for as long as somebody asks it: on a socket of its own, led here by ssh, never left behind."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import pillm

_PAUSE = 0.05
_LAST_WORDS = 8.0
_SERVE = """folder=$(mktemp -d "${TMPDIR:-/tmp}/pillm-XXXXXXXX") || exit 1
trap 'rm -rf -- "$folder"' EXIT
trap told=1 TERM
export GGML_NO_BACKTRACE=1
slots=$1; shift
[ -z "$slots" ] || set -- "$@" "$slots" "$folder"
"$@" --host "$folder/s.sock" >&2 &
echo "$! $folder/s.sock"
wait "$!"; code=$?
[ -z "$told" ] || wait
exit "$code"
"""


class BoardServer:
    """A llama-server that answers on a board until `close`, or until the connection breaks."""

    pid: int
    """Of the server, there."""
    load_ms: float
    """From its start until its model was loaded."""

    def __init__(
        self,
        remote: pillm.Remote,
        program: pillm.LlamaProgram,
        words: list[str],
        *,
        needs: int,
        wait: float,
        saves: bool = False,
    ) -> None:
        """Start it and wait until its model is loaded, for `wait` seconds at most; `saves` lets it keep prompts in files.

        `needs` are the bytes of memory that it takes. Raises ConfigError where the board has not as many, BackendError where it
        ends instead, Unavailable where the connection breaks or it takes too long.
        """
        self._remote, self._stack = remote, ExitStack()
        slots = program.words(slot_folder=".")[0] if saves else ""
        check_memory(remote, needs)
        began = time.monotonic()
        try:
            argv = ["sh", "-c", _SERVE, "sh", slots, program.path, *words]
            self._talk = self._stack.enter_context(remote.hold("llama-server", argv, needs=needs))
            pid, _, path = self._talk.hear(timeout=60.0).partition(" ")
            self.pid = int(pid)
            self._way = self._stack.enter_context(remote.reach(path))
            self._until_ready(wait)
        except BaseException:
            self.close()
            raise
        self.load_ms = (time.monotonic() - began) * 1000

    def ask(self, target: str, body: Mapping[str, Any] | None = None, *, timeout: float) -> tuple[int, Any]:
        """Return the status and the JSON of an answer; raise Unavailable where the connection broke or time is up."""
        with self._spoken(timeout):
            return self._way.ask(target, body, timeout=timeout)

    def stream(self, target: str, body: Mapping[str, Any], *, timeout: float) -> Iterator[Any]:
        """Yield the JSON of each event of an answer as it comes; raises what `ask` raises."""
        with self._spoken(timeout):
            yield from self._way.stream(target, body, timeout=timeout)

    @contextmanager
    def _spoken(self, timeout: float) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise pillm.Unavailable(f"{self._remote.host}: no answer came within {timeout:.0f} s.") from error
        except OSError as error:
            ended = self._talk.ended(_LAST_WORDS)
            if ended is None:
                ended = pillm.Unavailable(f"{self._remote.host}: the server there broke off ({error}).")
            if isinstance(ended, pillm.Unavailable):
                ended = pillm.Unavailable(f"{ended} It is ended there too. Run the same command again.")
            raise ended from error

    def close(self) -> None:
        """End the server and what leads to it; calling it twice is harmless."""
        self._stack.close()

    def _until_ready(self, wait: float) -> None:
        until = time.monotonic() + wait
        while time.monotonic() < until:
            ended = self._talk.ended(_PAUSE)
            if ended is not None:
                raise ended
            try:
                if self._way.ask("/health")[0] == 200:
                    return
            except OSError:  # it does not listen yet
                continue
        raise pillm.Unavailable(f"{self._remote.host}: llama-server had not loaded its model after {wait:.0f} s.")


def check_memory(remote: pillm.Remote, needs: int) -> None:
    """Raise ConfigError where a board has not so many bytes of memory left."""
    has = remote.memory()
    if has is not None and has < needs:
        raise pillm.ConfigError(
            f"{remote.host} has {has / 1e6:.0f} MB of memory left, and this model needs {needs / 1e6:.0f} MB to answer there. "
            "Nothing was started. Choose a smaller quantisation, context or parallel, or end what runs there."
        )
