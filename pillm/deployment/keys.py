"""The API keys of a deployment: a file of the board's own, never a word of a command, a log or an environment."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from pathlib import Path

from pillm.deployment.place import Place
from pillm.errors import ConfigError, DataError

_SHORTEST, _LARGEST = 16, 1 << 14
_FLAG = "--api-key-file"
_KEY = re.compile(r"[!-~]+")
_ID = re.compile(r"\.\./\.\./keys/([0-9a-f]{8})")
_FIND = """told=$(cat)
for file in "$1"/keys/*; do
  [ "$(cat -- "$file" 2>/dev/null)" = "$told" ] && printf '%s' "${file##*/}" && exit 0
done
exit 0
"""
_PUT = """umask 077
mkdir -p -- "$1/keys" && cat >"$1/.key.new" && chmod 600 -- "$1/.key.new" && mv -f -- "$1/.key.new" "$1/keys/$2" && sync
"""


def read_keys(path: Path) -> str:
    """Return the keys of a file, one a line; raise ConfigError for a file that holds none, or what no header can carry."""
    try:
        raw = path.read_bytes()
        lines = [line.strip() for line in raw.decode("ascii").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as a file of API keys ({type(error).__name__}). Nothing was sent.") from error
    if not lines or len(raw) > _LARGEST or not all(_KEY.fullmatch(line) and len(line) >= _SHORTEST for line in lines):
        raise ConfigError(
            f"{path} is no file of API keys: one a line, each of {_SHORTEST} letters, digits and signs or more. Nothing was "
            "sent. Make one with: openssl rand -hex 32"
        )
    return "".join(f"{line}\n" for line in lines)


def key_id(place: Place, text: str) -> str:
    """Return under what name the board has these keys, or a new name where it has not."""
    found = place.remote.run_as("the look for the key", ["sh", "-c", _FIND, "sh", place.root], stdin=text.encode())
    return found if re.fullmatch("[0-9a-f]{8}", found) else secrets.token_hex(4)


def put_keys(place: Place, name: str, text: str) -> None:
    """Write keys there, for the user alone."""
    argv = ["sh", "-c", _PUT, "sh", place.root, name]
    place.remote.run_as("the writing of the key", argv, stdin=text.encode())


def keys_of(place: Place, release: str) -> tuple[str, str] | None:
    """Return name and text of the keys that a release there asks for, or None where it asks for none."""
    name = key_name(place, release)
    if name is None:
        return None
    text = place.remote.read(f"{place.root}/keys/{name}") if name else None
    if not text:
        raise DataError(
            f"{place.remote.host}: {release} asks for an API key whose file is gone there. Deploy it again with --api-key-file."
        )
    return name, text


def key_name(place: Place, release: str) -> str | None:
    """Return the name of the keys that a release there asks for, None where it asks for none, "" for what is no such name."""
    words = (place.remote.read(f"{place.root}/releases/{release}/arguments") or "").splitlines()
    if _FLAG not in words[:-1]:
        return None
    named = _ID.fullmatch(words[words.index(_FLAG) + 1])
    return named[1] if named else ""


def with_key(words: Sequence[str], key: Sequence[str]) -> list[str]:
    """Return a server's command line with the words of other keys, or of none."""
    at = words.index(_FLAG) if _FLAG in words else len(words)
    return [*words[:at], *words[at + 2 :], *key]


def flags(name: str | None) -> list[str]:
    """Return the words that make a server ask for the keys of that name; paths are relative to the release's folder."""
    return [_FLAG, f"../../keys/{name}"] if name else []


def first_key(text: str) -> str:
    """Return the key that pillm itself shows."""
    return text.partition("\n")[0]
