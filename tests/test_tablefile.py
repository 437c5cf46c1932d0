"""Plain tables: what is read, row by row, and what is refused with its place."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pillm
from pillm.tablefile import Table, read_table_file, require_columns

CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


def written(folder: Path, name: str, data: bytes | str) -> Path:
    """Write a file."""
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_a_csv_file_gives_its_rows_with_their_places(tmp_path: Path) -> None:
    path = written(tmp_path, "t.csv", '\ufeffa,b\r\n1,"two\nlines, and a comma"\r\n\r\n3,"say ""hi"""\r\n')
    table = read_table_file(path)
    assert table.columns == ("a", "b")
    rows = [("t.csv:2", {"a": "1", "b": "two\nlines, and a comma"}), ("t.csv:5", {"a": "3", "b": 'say "hi"'})]
    assert list(table) == rows
    assert list(table) == rows, "a table can be read again"
    assert table.source == "t.csv"


def test_a_table_from_a_french_spreadsheet_has_semicolons(tmp_path: Path) -> None:
    ((_, row),) = read_table_file(written(tmp_path, "t.csv", "nom;prix\nlait;1,50\n"))
    assert row == {"nom": "lait", "prix": "1,50"}
    assert read_table_file(written(tmp_path, "t.tsv", "a\tb;c\n1\t2\n")).columns == ("a", "b;c")


def test_json_lines_keep_their_types(tmp_path: Path) -> None:
    table = read_table_file(written(tmp_path, "t.jsonl", '{"a": 1, "b": [true, null]}\n\n{"c": "d"}\n'))
    assert table.columns is None
    assert list(table) == [("t.jsonl:1", {"a": 1, "b": [True, None]}), ("t.jsonl:3", {"c": "d"})]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("t.csv", b"", "t.csv is empty"),
        ("t.csv", b"a,b\n", "t.csv has no rows"),
        ("t.jsonl", b"\n", "t.jsonl has no rows"),
        ("t.csv", b"a,b\n1,2\n1,2,3\n", "t.csv:3: the row has 3 cells, the header 2. Put a cell that contains ','"),
        ("t.csv", b"a,b\n1\n", "t.csv:2: the row has 1 cells"),
        ("t.csv", b"a,a\n1,2\n", "t.csv:1: the header names 'a' twice"),
        ("t.csv", b"a,\n1,2\n", "t.csv:1: the header has a column without a name"),
        ("t.csv", b'a,b\n1,"2\n', "t.csv:2: not CSV"),
        ("t.csv", b'a,b\n1,"2"3\n', "t.csv:2: not CSV"),
        ("t.csv", "a,b\n1,é\n".encode("latin-1"), "t.csv:2: byte 2 is not UTF-8. Save the file as UTF-8."),
        ("t.csv", "a,b\n1,2\n".encode("utf-16"), "t.csv:1: byte 0 is not UTF-8"),
        ("t.csv", b"a,b\n1,\x002\n", "t.csv:2: the line holds a NUL byte"),
        ("t.csv", b"a,b\n1," + b"x" * 200_000 + b"\n", "t.csv:2: not CSV"),
        ("t.csv", b"a,b\n1," + b"x" * (8 * 2**20) + b"\n", "t.csv:2: the line is longer than 8 MiB"),
        ("t.jsonl", b'{"a": 1}\n[1]\n', "t.jsonl:2: the line holds a list"),
        ("t.jsonl", b'{"a": 1}\n{"a": ', "t.jsonl:2: not a JSON object"),
        ("t.parquet", b"PAR1", "t.parquet is no table that is read here"),
        ("t.xlsx", b"PK", "Convert it to JSON lines"),
    ],
)
def test_a_broken_table_is_refused_with_its_place(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    with pytest.raises(pillm.DataError) as caught:
        list(read_table_file(written(tmp_path, name, data)))
    assert said in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pillm.DataError, match="is not a file"):
        read_table_file(tmp_path / "none.csv")


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8))
def test_what_a_csv_writer_wrote_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]]
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("one", "two"), *cells])
    path = written(tmp_path_factory.mktemp("csv"), "t.csv", text.getvalue())
    assert [tuple(row.values()) for _, row in read_table_file(path)] == cells


@given(st.binary(max_size=200))
def test_no_bytes_in_a_table_are_more_than_a_sentence(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    for name in ("t.csv", "t.jsonl"):
        with suppress(pillm.DataError):
            for _, row in read_table_file(written(folder, name, b"a,b\n" + data if name == "t.csv" else data)):
                json.dumps(row)


def test_a_large_table_is_never_all_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("a,b\n")
        file.writelines(f"{number},{'x' * 100}\n" for number in range(30_000))
    tracemalloc.start()
    count = sum(1 for _ in read_table_file(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"{count} rows of {path.stat().st_size >> 20} MiB at a peak of {peak >> 10} KiB")
    assert count == 30_000
    assert peak < 2**20


def test_a_column_that_is_not_there_is_told_before_a_row_is_read() -> None:
    table = Table(source="t.csv", read=lambda: iter(()), columns=("question", "answer"))
    require_columns(table, frozenset({"answer"}), "task.yaml")
    with pytest.raises(pillm.DataError, match=r"task\.yaml: t\.csv has no column 'qestion'\. Did you mean 'question'\?"):
        require_columns(table, frozenset({"qestion"}), "task.yaml")
    require_columns(Table(source="t.jsonl", read=lambda: iter(())), frozenset({"any"}), "task.yaml")
