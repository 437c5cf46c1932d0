"""Which installed distribution a class comes from."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache


def home_of(cls: type) -> importlib.metadata.Distribution | None:
    """Return the installed distribution that a class comes from, by the name of its package; None where there is none."""
    return _home_of(cls.__module__.partition(".")[0])


@lru_cache(maxsize=64)
def _home_of(package: str) -> importlib.metadata.Distribution | None:
    for name in _names(package):
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.distribution(name)
    return None


def _names(package: str) -> Iterator[str]:
    """Yield what a package's distribution may be called; only where its own name is none is every installed one read."""
    yield package.replace("_", "-")
    yield from importlib.metadata.packages_distributions().get(package, ())
