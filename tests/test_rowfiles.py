"""Labelled rows on disk."""

from __future__ import annotations

from pathlib import Path

import pillm
from pillm.rowfiles import Rows
from pillm.rows import write_rows


def test_rows_on_disk_are_sized_and_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    write_rows(path, ({"user": ask, "assistant": said} for ask, said in (("a", "b"), ("c", "d"))))
    rows = Rows(path)
    assert len(rows) == 2
    assert [example.answer.content for example in rows] == [example.answer.content for example in rows] == ["b", "d"]
    assert pillm.Rows is Rows
