"""Which installed distribution a class comes from."""

from __future__ import annotations

import importlib.metadata
from contextlib import suppress
from functools import lru_cache


def home_of(cls: type) -> importlib.metadata.Distribution | None:
    """Return the installed distribution that a class comes from, by the name of its package; None where there is none."""
    return _home_of(cls.__module__.partition(".")[0])


@lru_cache(maxsize=64)  # a script is no distribution: every installed one is read to find that out
def _home_of(package: str) -> importlib.metadata.Distribution | None:
    for name in (package.replace("_", "-"), *importlib.metadata.packages_distributions().get(package, ())):
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.distribution(name)
    return None
