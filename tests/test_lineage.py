"""What a checkpoint was made from is written beside it, and every row counts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillm.artifacts import Checkpoint
from pillm.cards.lineage import LINEAGE_FILE, Making, data_hash, lineage_of, read_lineage, teacher_record, write_lineage
from pillm.errors import DataError
from pillm.origins import Origin
from pillm.records import Answer, Example, Prompt
from pillm.testing import EchoTeacher
from pillm.testing.fakes import TableTrainer


def example(number: int, said: str = "yes", **prompt: object) -> Example:
    asked = Prompt(id=f"r{number}", messages=({"role": "user", "content": f"q{number}"},), **prompt)  # type: ignore[arg-type]
    return Example(prompt=asked, answer=Answer(said, model="echo-1"), key=f"k{number}")


class BasedTrainer(TableTrainer):
    name: ClassVar[str] = "based"
    folder: Path

    def base_checkpoint(self, *, fetch: bool = True) -> Checkpoint:
        return Checkpoint(path=self.folder, name="owner/tiny@0123456789ab")


class CardedTeacher(EchoTeacher):
    folder: Path

    def origin(self) -> Origin:
        return Origin(name=str(self.folder), folder=self.folder)


def making(rows: list[Example], **more: object) -> Making:
    known = {
        "key": "K",
        "seed": 7,
        "sides": {"train": rows},
        "trainer": TableTrainer(),
        "teacher": teacher_record(EchoTeacher()),
        "contract": "C",
    }
    return Making(**{**known, **more})  # type: ignore[arg-type]


def test_sources_licences_and_languages_of_the_rows_are_counted() -> None:
    rows = [example(1, source="a", license="MIT", language="fr-CA"), example(2, source="a", language="en"), example(3)]
    data = lineage_of(making(rows))["data"]
    assert data["sources"] == {"": {"": 1}, "a": {"": 1, "MIT": 1}}
    assert data["languages"] == {"en": 1, "fr-CA": 1}
    assert (data["rows"], data["answers"]) == ({"train": 3}, {"teacher": 3})


def test_base_and_teacher_bring_their_cards_terms_and_never_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "0123456789abcdef0123456789abcdef01234567"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    found = lineage_of(
        making([example(1)], trainer=BasedTrainer(folder=folder), teacher=teacher_record(CardedTeacher(folder=folder)))
    )
    assert found["base"] == {
        "name": "owner/tiny", "revision": folder.name, "license": "apache-2.0", "link": None, "content": None,
    }  # fmt: skip
    assert found["teacher"]["name"] == folder.name
    assert found["teacher"]["license"] == "apache-2.0"
    assert str(tmp_path) not in json.dumps({**found, "versions": {}})


def test_without_a_teacher_the_rows_name_theirs_or_had_none() -> None:
    assert lineage_of(making([example(1)], teacher=None))["teacher"]["name"] == "echo-1"
    assert lineage_of(making([replace(example(1), source="given")]))["teacher"] is None


def test_the_schema_is_told_where_all_rows_share_one() -> None:
    one = {"type": "object"}
    assert lineage_of(making([example(1, schema=one), example(2, schema=dict(one))]))["schema"] == one
    assert lineage_of(making([example(1, schema=one), example(2)]))["schema"] is None
    found = lineage_of(making([example(1, schema=one), example(2, schema={"type": "array"})]))
    assert (found["schema"], found["schemas"]) == (None, 2)


@given(st.permutations(range(5)), st.integers(0, 4))
def test_the_order_of_rows_changes_nothing_and_every_row_counts(order: list[int], place: int) -> None:
    rows = [example(number) for number in range(5)]
    assert data_hash({"train": [rows[number] for number in order]}) == data_hash({"train": rows})
    changed = [*rows[:place], replace(rows[place], answer=Answer("no")), *rows[place + 1 :]]
    assert data_hash({"train": changed}) != data_hash({"train": rows})
    assert data_hash({"train": rows[:-1], "validation": rows[-1:]}) != data_hash({"train": rows})


def test_a_damaged_lineage_is_said_and_a_missing_one_is_none(tmp_path: Path) -> None:
    checkpoint = Checkpoint(path=tmp_path)
    assert read_lineage(checkpoint) == {}
    write_lineage(tmp_path, making([example(1)]))
    assert read_lineage(checkpoint)["train"] == "K"
    for damaged in ("{", "[]", '{"lineage_version": 99}'):
        (tmp_path / LINEAGE_FILE).write_text(damaged)
        with pytest.raises(DataError, match="is damaged"):
            read_lineage(checkpoint)
