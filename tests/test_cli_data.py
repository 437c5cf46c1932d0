"""`pillm data`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pillm

if TYPE_CHECKING:
    from tests.conftest import Cli


def test_rows_are_split_as_they_are_with_their_side_written_in(cli: Cli, rows: Path, tmp_path: Path) -> None:
    done = cli("data", "split", rows, "--test", "1", "--out", tmp_path / "out", "--json")
    assert done.json["test"]["rows"] == 1
    assert done.json["train"]["rows"] == 2
    kept = [
        json.loads(line) for side in ("test", "train") for line in (tmp_path / "out" / f"{side}.jsonl").read_text().splitlines()
    ]
    assert {row["user"] for row in kept} == {"hello", "bonjour", "hi"}
    assert {row["split"] for row in kept} == {"test", "train"}


def test_a_split_that_leaves_nothing_to_train_on_is_refused(cli: Cli, rows: Path, tmp_path: Path) -> None:
    assert cli("data", "split", rows, "--test", "3", "--out", tmp_path / "out").code == 2
    assert not (tmp_path / "out").exists()


def test_label_reads_the_sides_of_rows_that_name_a_schema_of_their_own(cli: Cli, fakes: Path, tmp_path: Path) -> None:
    (tmp_path / "ds" / "schemas").mkdir(parents=True)
    (tmp_path / "ds" / "schemas" / "mine.schema.json").write_text('{"type": "string"}', "utf-8")
    rows = tmp_path / "ds" / "rows.jsonl"
    rows.write_text('{"user": "a", "schema": "mine", "assistant": "\\"b\\""}\n', "utf-8")
    parts = tmp_path / "ds" / "parts"
    assert cli("data", "split", rows, "--out", parts).code == 0
    done = cli("label", parts / "train.jsonl", "--teacher", "echo", "--out", tmp_path / "label")
    assert (done.code, done.err.count("no schema")) == (0, 0)


def test_a_split_into_the_folder_of_its_rows_is_refused(cli: Cli, rows: Path) -> None:
    done = cli("data", "split", rows, "--out", rows.parent)
    assert done.code == 2
    assert "Choose another --out" in done.err


def test_any_format_is_converted_and_keeps_its_answer(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    path.write_text(
        '{"instruction": "say hi", "output": "hi"}\n'
        '{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}\n'
        '{"prompt": "c", "completion": "d"}\n{"user": "e", "goal": "f"}\n',
        "utf-8",
    )
    done = cli("data", "convert", path)
    native = [json.loads(line) for line in done.out.splitlines()]
    assert [row["messages"][-1]["content"] for row in native] == ["hi", "b", "d", "e"]
    assert native[3]["metadata"] == {"goal": "f"}
    assert cli("data", "convert", path, "--out", tmp_path / "native.jsonl", "--json").json["rows"] == 4
    before, after = pillm.read_prompts(path), pillm.read_prompts(tmp_path / "native.jsonl")
    assert [(row.id, row.messages, row.given, row.reference) for row in after] == [
        (row.id, row.messages, row.given, row.reference) for row in before
    ]


def test_rows_with_the_same_instruction_are_converted_to_ids_that_label_reads(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "alpaca.jsonl"
    path.write_text('{"instruction": "say hi", "output": "hi"}\n{"instruction": "say hi", "output": "hello"}\n', "utf-8")
    assert cli("data", "convert", path, "--out", tmp_path / "native.jsonl").code == 0
    before, after = pillm.read_prompts(path), pillm.read_prompts(tmp_path / "native.jsonl")
    assert [row.id for row in after] == [row.id for row in before]
    assert after[1].id.endswith("-2")
