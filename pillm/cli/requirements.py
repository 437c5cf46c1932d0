"""Which requirements of an installed distribution are not met."""

from __future__ import annotations

import importlib.metadata
import re

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*\(?([^;)]*)\)?\s*(?:;(.*))?")


def unmet(distribution: str) -> list[str]:
    """Return the requirements of a distribution that are not installed, or installed in a version it refuses."""
    missing = []
    for text in importlib.metadata.requires(distribution) or ():
        match = _NAME.match(text)
        if match is None or match[3]:  # a requirement under a condition (an extra, a platform) may well be absent
            continue
        name, wanted = match[1], match[2].strip()
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(f"{name}{wanted}")
            continue
        if not _allowed(found, wanted):
            missing.append(f"{name}{wanted}")
    return missing


def _allowed(version: str, wanted: str) -> bool:
    """Say whether a version satisfies a specifier; without `packaging` every version does."""
    try:
        from packaging.specifiers import InvalidSpecifier, SpecifierSet
    except ImportError:
        return True
    try:
        return SpecifierSet(wanted).contains(version, prereleases=True)
    except InvalidSpecifier:
        return True
