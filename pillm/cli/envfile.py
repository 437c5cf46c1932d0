"""Read environment variables from the file that --env-file names."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from pillm.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")


def load_env(path: Path) -> None:
    """Set the variables of a file that are not set already; nothing is expanded and nothing is run."""
    for name, value in read_env(path).items():
        os.environ.setdefault(name, value)


def read_env(path: Path) -> dict[str, str]:
    """Return the `NAME=value` lines of a file; raise ConfigError that names a wrong line, never its text."""
    found = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise ConfigError(f"{path.name}:{number}: not UTF-8. Save the file as UTF-8.") from None
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None or "\0" in text:
            raise ConfigError(f"{path.name}:{number}: not of the form NAME=value.")
        found[match[1]] = _unquoted(match[2].strip())
    return found


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return re.sub(r"\s+#.*$", "", text)
