"""The command line of llama-server on a board of 2 to 8 GB: its own defaults take more memory than such a board has."""

from __future__ import annotations

from collections.abc import Sequence

from pillm.deployment.programs import LlamaProgram
from pillm.errors import ConfigError

UBATCH = 128
"""Tokens that are computed at once; the buffer for logits grows with it."""
_SMALL: dict[str, object] = {
    "parallel": 1,
    "batch": 256,
    "ubatch": UBATCH,
    "cache_ram": 64,  # the default is 8 GiB of prompt cache
    "mmap": True,  # pages of the file can be given back; older versions do so unasked
    "metrics": True,
}


def arguments(program: LlamaProgram, release: str, *, context: int, threads: int) -> tuple[list[str], list[str]]:
    """Return the command line of a release's llama-server, and what this version of it does not know.

    Paths are relative to the release's folder. Raises ConfigError for a program that lacks what serving needs.
    """
    place = {"model": "model.gguf", "host": f"../../run/{release}.sock", "alias": release, "context": context}
    words, dropped = program.serving(**place, **_SMALL, threads=threads, threads_batch=threads)
    return _one_line_each([program.path, *words]), dropped


def _one_line_each(words: Sequence[str]) -> list[str]:
    for word in words:
        if "\n" in word or "\0" in word or not word:
            raise ConfigError(f"{word!r} cannot stand on the server's command line.")
    return list(words)
