"""What made a result: Python, pillm, the platform, and the distributions of the backends with the libraries they require."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pillm.backends import Backend

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def versions() -> dict[str, str]:
    """Return the versions that every result depends on: Python, pillm and the platform."""
    from pillm import __version__

    return {"python": sys.version.split()[0], "pillm": __version__, "platform": sys.platform}


def machine() -> dict[str, str | int | None]:
    """Return what tells machines apart as far as speed goes: name, architecture, processor and cores."""
    model = ""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))), "")
    return {"host": platform.node(), "architecture": platform.machine(), "processor": model, "cores": os.cpu_count()}


def made_with(backends: Iterable[Backend]) -> dict[str, str]:
    """Return `versions()` and, by distribution, those of the backends' plugins and of the libraries that they require.

    They are read from the installed metadata: nothing heavy is imported. They are a record and never part of a key.
    """
    found: dict[str, str] = {}
    for backend in _with_nested(backends):
        home = backend.distribution()
        if home is not None and home != "pillm":  # pillm's own libraries make no result
            found |= {home: backend.version(), **_libraries(home)}
    return versions() | {name: found[name] for name in sorted(found) if name != "pillm"}


def _with_nested(backends: Iterable[Backend]) -> Iterator[Backend]:
    for backend in backends:
        yield backend
        values = (getattr(backend, name) for name in type(backend).model_fields)
        yield from _with_nested(value for value in values if isinstance(value, Backend))


def _libraries(distribution: str) -> dict[str, str]:
    """Return the installed versions of what a distribution requires; what an extra asks for counts where it is there."""
    found: dict[str, str] = {}
    with suppress(importlib.metadata.PackageNotFoundError):
        for requirement in importlib.metadata.requires(distribution) or ():
            name = _NAME.match(requirement)
            with suppress(importlib.metadata.PackageNotFoundError):
                found |= {name[0]: importlib.metadata.version(name[0])} if name else {}
    return found
