"""`pillm data merge` joins the folders of several machines."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Cli


def test_parts_labelled_apart_are_joined(cli: Cli, fakes: Path, rows: Path, tmp_path: Path) -> None:
    shards = [tmp_path / str(part) for part in (1, 2)]
    for part, shard in enumerate(shards, 1):
        cli("label", rows, "--teacher", "echo", "--shard", f"{part}/2", "--out", shard)
    cli("label", rows, "--teacher", "echo", "--out", tmp_path / "whole")
    result = cli("data", "merge", rows, *shards, "--out", tmp_path / "merged", "--json")
    assert result.code == 0
    assert json.loads(result.out)["shards"] == 2
    assert (tmp_path / "merged" / "labelled.jsonl").read_bytes() == (tmp_path / "whole" / "labelled.jsonl").read_bytes()


def test_a_missing_part_is_told_with_the_remedy(cli: Cli, fakes: Path, rows: Path, tmp_path: Path) -> None:
    cli("label", rows, "--teacher", "echo", "--shard", "1/2", "--out", tmp_path / "1")
    result = cli("data", "merge", rows, tmp_path / "1", "--out", tmp_path / "merged")
    assert result.code == 2
    assert "Give each of the 2 parts once" in result.err


def test_a_part_is_written_as_one_of_so_many(cli: Cli, fakes: Path, rows: Path, tmp_path: Path) -> None:
    result = cli("label", rows, "--teacher", "echo", "--shard", "first", "--out", tmp_path / "1")
    assert result.code == 2
    assert "write it as 1/4" in result.err
