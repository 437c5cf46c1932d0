"""The files of a split: readable where they lie, whole, and never beside the files of another split."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pillm.contract import Contract
from pillm.errors import ConfigError, StorageError
from pillm.rows import read_prompts
from pillm.stages.labelling import contract_beside
from pillm.stages.sides import split_file
from pillm.store import Lineage, write_manifest
from pillm.verification import verify

SCHEMA = {"type": "object", "required": ["n"]}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Write ten rows that name a schema of their own, and the schema."""
    folder = tmp_path / "ds"
    (folder / "schemas").mkdir(parents=True)
    (folder / "schemas" / "mine.schema.json").write_text(json.dumps(SCHEMA), "utf-8")
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"user": f"say {n}", "schema": "mine"}) + "\n" for n in range(10)), "utf-8")
    return path


def test_rows_with_a_schema_of_their_own_are_read_wherever_the_sides_lie(rows: Path, tmp_path: Path) -> None:
    made = split_file(rows, tmp_path / "elsewhere" / "parts", test=3)
    assert [prompt.schema for path in made for prompt in read_prompts(path)] == [SCHEMA] * 10


def test_a_schema_that_every_reader_finds_stays_a_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"user": "a", "tool_schema": "calendar"}\n{"user": "b", "schema": "calendar"}\n', "utf-8")
    (train,) = split_file(path, tmp_path / "parts")
    assert [json.loads(line).get("schema") for line in train.read_text("utf-8").splitlines()] == [None, "calendar"]


def test_a_schema_of_the_flat_form_is_written_where_its_name_stood(rows: Path, tmp_path: Path) -> None:
    rows.write_text('{"user": "a", "tool_schema": "mine"}\n', "utf-8")
    (train,) = split_file(rows, tmp_path / "parts")
    assert json.loads(train.read_text("utf-8")) == {"user": "a", "tool_schema": SCHEMA, "split": "train"}
    assert not read_prompts(train)[0].metadata


def test_a_side_that_a_new_split_does_not_make_goes(rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "parts"
    split_file(rows, out, validation=2)
    split_file(rows, out, test=2)
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "test.jsonl", "train.jsonl"]
    assert len({prompt.id for side in ("test", "train") for prompt in read_prompts(out / f"{side}.jsonl")}) == 10
    assert verify(out) == []


@pytest.mark.parametrize("name", ["label/answers.sqlite", "notes.txt"])
def test_what_others_put_into_a_split_is_refused_and_left_alone(rows: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "parts"
    split_file(rows, out)
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("bought")
    with pytest.raises(ConfigError, match=rf"{name}.*choose another --out"):
        split_file(rows, out, test=2)
    assert (out / name).read_text() == "bought"


def test_a_folder_that_no_split_made_is_refused_and_left_alone(rows: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "validation.jsonl").write_text("mine", "utf-8")
    with pytest.raises(ConfigError, match=r"Choose another --out"):
        split_file(rows, tmp_path / "mine", test=2)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["validation.jsonl"]


@pytest.mark.parametrize("verb", ["label", "train"])
def test_what_another_verb_made_is_left_alone(rows: Path, tmp_path: Path, verb: str) -> None:
    (tmp_path / "made").mkdir()
    write_manifest(tmp_path / "made", Lineage(verb=verb, key="k"))
    with pytest.raises(ConfigError, match=rf"`{verb}`.*Choose another --out"):
        split_file(rows, tmp_path / "made")


def test_a_split_never_replaces_the_rows_that_it_reads(rows: Path, tmp_path: Path) -> None:
    (train,) = split_file(rows, tmp_path / "parts")
    before = train.read_bytes()
    for path, out in ((train, tmp_path / "parts"), (rows, rows.parent), (rows, tmp_path)):
        with pytest.raises(ConfigError, match="holds the rows"):
            split_file(path, out)
    assert train.read_bytes() == before


def test_the_contract_of_labelled_rows_goes_with_them_and_leaves_with_them(rows: Path, tmp_path: Path) -> None:
    told = Contract(schema_in_prompt="text", system="Be brief.")
    told.save(rows.parent / "contract.json")
    (train,) = split_file(rows, tmp_path / "parts")
    assert contract_beside(train) == told
    (rows.parent / "contract.json").unlink()
    split_file(rows, tmp_path / "parts")
    assert contract_beside(train) is None


def test_a_split_that_cannot_be_written_leaves_the_last_one_whole(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "parts"
    split_file(rows, out, validation=2)

    def full(self: Contract, path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    Contract().save(rows.parent / "contract.json")
    monkeypatch.setattr(Contract, "save", full)
    with pytest.raises(StorageError, match="no space is left"):
        split_file(rows, out, test=2)
    assert verify(out) == []
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "train.jsonl", "validation.jsonl"]
