"""The command line of llama-server on a board of 2 to 8 GB: its own defaults take more memory than such a board has."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pillm.errors import ConfigError

_NEEDED = ("--model", "--host", "--ctx-size", "--parallel")
_SMALL: tuple[tuple[tuple[str, ...], str | None], ...] = (
    (("--batch-size",), "256"),
    (("--ubatch-size",), "128"),  # the buffer for logits grows with it
    (("--cache-ram",), "64"),  # the default is 8 GiB of prompt cache
    (("--ctx-checkpoints", "--swa-checkpoints"), "2"),
    (("--load-mode",), "mmap"),  # pages of the file can be given back; older versions do so unasked
    (("--no-ui", "--no-webui"), None),
    (("--no-slots",), None),  # what others asked is nobody's business
    (("--cors-origins",), "localhost"),
    (("--offline",), None),
    (("--log-verbosity", "--verbosity"), "2"),  # a line for every request wears a card out
    (("--metrics",), None),
)
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")


def known_flags(told: str) -> frozenset[str]:
    """Return the options that a program's --help names."""
    return frozenset(_FLAG.findall(told))


def arguments(server: str, release: str, known: frozenset[str], *, context: int, threads: int) -> tuple[list[str], list[str]]:
    """Return the command line of a release's llama-server, and what this version of it does not know.

    Paths are relative to the release's folder. Raises ConfigError for a program that lacks what serving needs.
    """
    lacking = [flag for flag in _NEEDED if flag not in known]
    if lacking:
        raise ConfigError(f"{server} does not know {', '.join(lacking)}: it is no llama-server, or a very old one.")
    words = [server, "--model", "model.gguf", "--host", f"../../run/{release}.sock"]
    words += ["--ctx-size", str(context), "--parallel", "1"]
    wanted = (*_SMALL, (("--alias",), release), (("--threads",), str(threads)), (("--threads-batch",), str(threads)))
    dropped = []
    for names, value in wanted:
        flag = next((name for name in names if name in known), None)
        if flag is None:
            dropped.append(names[0])
        else:
            words += [flag] if value is None else [flag, value]
    return _one_line_each(words), dropped


def _one_line_each(words: Sequence[str]) -> list[str]:
    for word in words:
        if "\n" in word or "\0" in word or not word:
            raise ConfigError(f"{word!r} cannot stand on the server's command line.")
    return list(words)
