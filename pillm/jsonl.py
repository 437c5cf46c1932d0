"""JSON lines in and out, strictly: every refusal names file and line."""

from __future__ import annotations

import json
import math
from typing import IO, TYPE_CHECKING, Any

from pillm.errors import DataError
from pillm.records import JSONObject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

MAX_LINE = 8 * 1024 * 1024
MAX_DEPTH = 64
BOM = b"\xef\xbb\xbf"


def parse_json(text: str) -> Any:
    """Parse one JSON document strictly; raise ValueError with the reason.

    Refused: duplicate keys, NaN, numbers too large for a float, halves of surrogate pairs, nesting deeper than MAX_DEPTH.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)
    except RecursionError as error:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels") from error
    # only brackets nest: nearly every text has too few of them to be too deep
    if text.count("{") + text.count("[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    try:
        (json.dumps(value, ensure_ascii=False) if "\\u" in text else text).encode()
    except UnicodeEncodeError as error:
        raise ValueError("it holds half of a surrogate pair") from error
    return value


def _object(items: list[tuple[str, Any]]) -> JSONObject:
    found = dict(items)
    if len(found) != len(items):
        raise ValueError("an object repeats a key")
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:20]} is too large a number")
    return number


def _depth(value: Any) -> int:
    deepest, stack = 0, [(value, 1)]
    while stack:
        node, depth = stack.pop()
        deepest = max(deepest, depth)
        if depth > MAX_DEPTH:
            break
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        stack.extend((child, depth + 1) for child in children)
    return deepest


def read_lines(path: Path) -> Iterator[tuple[str, JSONObject]]:
    """Yield (`file:line`, object) for each line of a JSONL file; raise DataError that names the place."""
    if not path.is_file():
        raise DataError(f"{path} is not a file. Give a JSONL file with one object per line.")
    with path.open("rb") as file:
        yield from parse_lines(file, path.name)


def parse_lines(file: IO[bytes], name: str) -> Iterator[tuple[str, JSONObject]]:
    """Yield (`name:line`, object) for each line of an open file; raise DataError that names the place."""
    # readline with a limit: a file of gigabytes without a newline must not fill the memory
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), b""), 1):
        where = f"{name}:{number}"
        if line.strip():
            yield where, _parse_line(line.removeprefix(BOM) if number == 1 else line, where)


def _parse_line(line: bytes, where: str) -> JSONObject:
    if len(line) > MAX_LINE:
        raise DataError(f"{where}: the line is longer than {MAX_LINE // 2**20} MiB. Split the row or leave it out.")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: byte {error.start} is not UTF-8. Save the file as UTF-8.") from error
    try:
        row = parse_json(text.strip())
    except ValueError as error:
        torn = "" if line.endswith(b"\n") else " The line has no newline at its end: the file seems to be cut off."
        reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
        raise DataError(f"{where}: not a JSON object ({reason}).{torn} Mend or remove the line.") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: the line holds a {type(row).__name__}, not a JSON object.")
    return row


def json_line(row: Mapping[str, Any]) -> str:
    """Return a row as a line of a JSONL file; raise DataError where a text of it cannot be written as UTF-8."""
    line = json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        line.encode()
    except UnicodeEncodeError as error:
        named = f"row {row['id']!r}" if "id" in row else "a row"
        raise DataError(f"{named} holds half of a surrogate pair, which cannot be written: leave it out") from error
    return line


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows as JSONL and return how many there were."""
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json_line(row))
            count += 1
    return count
