"""Plain tables: CSV and JSON lines, read strictly and row by row; every refusal names file and line."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pillm.errors import DataError, did_you_mean
from pillm.jsonl import BOM, MAX_LINE, read_lines
from pillm.records import JSONObject

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
MAX_COLUMNS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows that can be read again and again, never all in memory."""

    source: str
    """Where the rows are from, pinned where they could change: it becomes the `source` of what is made of them."""
    read: Callable[[], Iterator[tuple[str, JSONObject]]]
    """Return the rows, each with its place (`file:line`)."""
    columns: tuple[str, ...] | None = None
    """The columns that every row has; None where each row names its own."""

    def __iter__(self) -> Iterator[tuple[str, JSONObject]]:
        return self.read()


def read_table_file(path: Path) -> Table:
    """Return the table of a CSV (.csv, .tsv) or JSON lines file (.jsonl, .ndjson), in UTF-8; raise DataError.

    A CSV file has a header; its cells are texts. They stand between commas or, where the header has none, semicolons.
    """
    if not path.is_file():
        raise DataError(f"{path} is not a file. Give a table: {', '.join(SUFFIXES)}.")
    suffix = path.suffix.casefold()
    if suffix in (".jsonl", ".ndjson"):
        return Table(source=path.name, read=lambda: _some(read_lines(path), path.name))
    if suffix in (".csv", ".tsv"):
        delimiter, columns = _header(path)
        return Table(source=path.name, read=lambda: _some(_rows(path, delimiter, columns), path.name), columns=columns)
    raise DataError(f"{path.name} is no table that is read here: {', '.join(SUFFIXES)}. Convert it to JSON lines.")


def require_columns(table: Table, names: frozenset[str], where: str) -> None:
    """Raise DataError where a table whose columns are known lacks one of these."""
    for name in sorted(names.difference(table.columns or names)):
        known = table.columns or ()
        raise DataError(
            f"{where}: {table.source} has no column {name!r}.{did_you_mean(name, known)} It has: {', '.join(known)}."
        )


def _some(rows: Iterator[tuple[str, JSONObject]], name: str) -> Iterator[tuple[str, JSONObject]]:
    found = False
    for row in rows:
        found = True
        yield row
    if not found:
        raise DataError(f"{name} has no rows. Give a table with at least one.")


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), b""), 1):
            where = f"{path.name}:{number}"
            if len(line) > MAX_LINE:
                raise DataError(f"{where}: the line is longer than {MAX_LINE // 2**20} MiB. Split the row or leave it out.")
            try:
                text = (line.removeprefix(BOM) if number == 1 else line).decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(f"{where}: byte {error.start} is not UTF-8. Save the file as UTF-8.") from error
            if "\0" in text:
                raise DataError(f"{where}: the line holds a NUL byte, so this is no table. Save it as CSV in UTF-8.")
            yield text


def _header(path: Path) -> tuple[str, tuple[str, ...]]:
    first = next(_lines(path), "")
    delimiter = "\t" if path.suffix.casefold() == ".tsv" else ";" if ";" in first and "," not in first else ","
    _, cells = next(_records(path, delimiter), ("", []))
    columns = tuple(cell.strip() for cell in cells)
    if not columns:
        raise DataError(f"{path.name} is empty. Its first line must name the columns.")
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if "" in columns or twice is not None or len(columns) > MAX_COLUMNS:
        fault = f"names {twice!r} twice" if twice else "has a column without a name" if "" in columns else "is too wide"
        raise DataError(f"{path.name}:1: the header {fault}. Give every column one name of its own.")
    return delimiter, columns


def _records(path: Path, delimiter: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (`file:line`, cells) of every record; one that spans lines is named by its first."""
    reader = csv.reader(_lines(path), delimiter=delimiter, strict=True)
    while True:
        where = f"{path.name}:{reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            hint = "a quote is not closed, or text follows one" if "field limit" not in str(error) else "use JSON lines"
            raise DataError(f"{where}: not CSV ({error}): {hint}. Mend the row or leave it out.") from error
        if cells:  # an empty line is no row
            yield where, cells


def _rows(path: Path, delimiter: str, columns: tuple[str, ...]) -> Iterator[tuple[str, JSONObject]]:
    records = _records(path, delimiter)
    next(records, None)
    for where, cells in records:
        if len(cells) != len(columns):
            raise DataError(
                f"{where}: the row has {len(cells)} cells, the header {len(columns)}. "
                f"Put a cell that contains {delimiter!r} or a line break into double quotes."
            )
        yield where, dict(zip(columns, cells, strict=True))
