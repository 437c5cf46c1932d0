"""Read JSON from outside within limits: its size, its depth, how much it holds, and no name twice in one object."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from pillm.intake.faults import Fault, shown

MAX_DEPTH: Final = 64
MAX_PARTS: Final = 12_000_000
"""Values in one document: a vocabulary of half a million tokens with its merges has four million."""

_STRINGS = re.compile(rb'"(?:[^"\\]+|\\.)*+"', re.DOTALL)
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def read_json(raw: bytes) -> Any:
    """Return what a JSON document holds; raise Fault where it is none or breaks a limit."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        raise Fault("it begins with a byte order mark", 0, broken=True)
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MAX_PARTS:
        raise Fault(f"it holds more than {MAX_PARTS} values")
    _check_depth(raw)
    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise Fault(f"it is not UTF-8 ({error.reason})", error.start, broken=True) from None
    except RecursionError:
        raise Fault(f"it is nested deeper than {MAX_DEPTH}") from None
    except ValueError as error:  # a number of thousands of digits too
        at = getattr(error, "pos", None)
        raise Fault(f"it is not JSON ({str(error)[:120]})", at, broken=True) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise Fault(f"{shown(twice)} stands twice in one object; readers differ in which they take")
    return made


def _check_depth(raw: bytes) -> None:
    """Refuse deep nesting before a parser recurses into it: strip pairs of brackets, innermost first, and count the rounds."""
    brackets = _STRINGS.sub(b"", raw).translate(None, _ALL_BUT_BRACKETS)
    for _ in range(MAX_DEPTH):
        if not brackets:
            return
        fewer = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(fewer) == len(brackets):
            return  # unbalanced: the parser says where
        brackets = fewer
    if brackets:
        raise Fault(f"it is nested deeper than {MAX_DEPTH}")


def objects_in(part: Any) -> Iterator[dict[str, Any]]:
    """Yield every object within a document, however deep."""
    waiting = [part]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
