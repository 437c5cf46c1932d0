"""A llama-server on a board for as long as somebody asks it: on a socket of its own, led here by ssh, never left behind."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import pillm
from pillm_llamacpp.boards.flags import Program

NEEDED = ("model", "host", "context", "parallel")
_SPARE = 256 << 20
"""Bytes that a served model takes beside its file: keys and values, buffers, the program."""
_PAUSE = 0.1
_LAST_WORDS = 8.0
_SERVE = """folder=$(mktemp -d "${TMPDIR:-/tmp}/pillm-XXXXXXXX") || exit 1
trap 'rm -rf -- "$folder"' EXIT
trap told=1 TERM
export GGML_NO_BACKTRACE=1
echo "$folder/s.sock"
"$@" --host "$folder/s.sock" >&2 &
wait "$!"; code=$?
[ -z "$told" ] || wait
exit "$code"
"""


class BoardServer:
    """A llama-server that answers on a board until `close`, or until the connection breaks."""

    def __init__(self, remote: pillm.Remote, program: Program, words: list[str], *, model_bytes: int, wait: float) -> None:
        """Start it and wait until its model is loaded, for `wait` seconds at most.

        Raises ConfigError where the board has not the memory for it, BackendError where it ends instead, Unavailable where
        the connection breaks or it takes too long.
        """
        self._remote, self._stack = remote, ExitStack()
        needs = model_bytes + _SPARE
        _check_memory(remote, needs)
        try:
            argv = ["sh", "-c", _SERVE, "sh", program.path, *words]
            self._talk = self._stack.enter_context(remote.hold("llama-server", argv, needs=needs))
            self._way = self._stack.enter_context(remote.reach(self._talk.hear(timeout=60.0)))
            self._until_ready(wait)
        except BaseException:
            self.close()
            raise

    def ask(self, target: str, body: Mapping[str, Any], *, timeout: float) -> tuple[int, Any]:
        """Return the status and the JSON of an answer; raise Unavailable where the connection broke or time is up."""
        try:
            return self._way.ask(target, body, timeout=timeout)
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


def server_words(program: Program, **options: object) -> list[str]:
    """Return the command line, without the program, that keeps a server small and to itself.

    Raises ConfigError, naming the version, where the program lacks an option that serving needs or that was asked for.
    """
    for name in NEEDED:
        program.words(**{name: "x"})
    # what an old version does not have there is nothing to switch off
    quiet = {"cache_ram": 0, "checkpoints": 2, "no_ui": True, "no_slots": True, "offline": True, "cors_origins": "localhost",
             "verbosity": 2}  # fmt: skip
    return program.words(parallel=1, **options, **{name: value for name, value in quiet.items() if program.knows(name)})


def _check_memory(remote: pillm.Remote, needs: int) -> None:
    has = remote.memory()
    if has is not None and has < needs:
        raise pillm.ConfigError(
            f"{remote.host} has {has / 1e6:.0f} MB of memory left, and this model needs {needs / 1e6:.0f} MB to answer there. "
            "Nothing was started. Choose a smaller quantisation or a smaller context, or end what runs there."
        )
