"""The tree of errors, and the exit code that each one ends the command line with.

PillmError                    1  everything pillm refuses or fails at; the message is for the person at the terminal
├── ConfigError               2  a command line, a recipe or an option is wrong
│   └── UnknownBackend        2  no installed plugin provides that name
├── DataError                 2  a row or an input file is wrong                (prompts.jsonl:3: ...)
├── GateError                 3  a gate of the recipe was not met
├── MissingDependency         4  a library or a tool is not installed; the message says how to get it
├── Unavailable               5  the teacher, the network, credentials or a lock stood in the way; the same command resumes
├── UnsafeError               6  refused as unsafe
├── PluginError               1  a plugin broke the protocol, or two claim one name
├── BackendError              1  a backend started its work and failed
└── StorageError              1  a file could not be written, read back or verified (disk full included)

Interrupted (130) stands outside: Ctrl-C or SIGTERM after the work in hand was stored; the same command resumes.
A message reads: what happened, where, what is safe, what to do. A bug is not a PillmError and keeps its traceback.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class PillmError(Exception):
    """Everything pillm refuses or fails at."""

    exit_code: ClassVar[int] = 1


class ConfigError(PillmError):
    """A command line, a recipe or an option is wrong."""

    exit_code = 2


class UnknownBackend(ConfigError):
    """No installed plugin provides a backend of that name."""


class DataError(PillmError):
    """A row or an input file is wrong."""

    exit_code = 2


class GateError(PillmError):
    """A gate of the recipe was not met."""

    exit_code = 3


class MissingDependency(PillmError):
    """A library or a tool is not installed."""

    exit_code = 4


class Unavailable(PillmError):
    """The teacher, the network, credentials or a lock stood in the way; the same command resumes."""

    exit_code = 5


class UnsafeError(PillmError):
    """Something was refused because it could do harm."""

    exit_code = 6


class PluginError(PillmError):
    """A plugin broke the protocol, or two plugins claim one name."""


class BackendError(PillmError):
    """A backend started its work and failed."""


class StorageError(PillmError):
    """A file could not be written, read back or verified."""


class Interrupted(BaseException):
    """The run was interrupted after the work in hand was stored; no `except Exception` swallows it, as with Ctrl-C."""

    exit_code: ClassVar[int] = 130


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the first known word that begins so, else the closest one; or an empty string."""
    names = list(known)
    by_folded = {name.casefold(): name for name in names}
    begun = [name for name in by_folded if len(word) > 1 and name.startswith(word.casefold())]
    near = begun or get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.6)
    return f" Did you mean {by_folded[near[0]]!r}?" if near else ""
