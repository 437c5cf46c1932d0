"""What labelling leaves in its folder: the rows by state, and what the teacher was told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pillm.contract import Contract
from pillm.errors import DataError
from pillm.rows import prompt_from_row, read_lines
from pillm.stages.labelling import Labelling, label
from pillm.testing import EchoTeacher
from pillm.verification import verify
from tests.questions import SCHEMA, prompts

TOLD = Contract(schema_in_prompt="text", system="Be brief.")


def test_every_row_is_answered_and_the_rows_balance(tmp_path: Path) -> None:
    labelled = label(prompts(5), EchoTeacher(window=3), tmp_path)
    assert str(labelled.counts) == "5 rows = 5 answered + 0 rejected + 0 failed + 0 pending"
    assert labelled.counts.balanced
    assert [(row.prompt.id, row.answer.content) for row in labelled] == [(f"r{i}", f"question {i}") for i in range(5)]
    assert verify(tmp_path) == []


def test_an_answer_that_breaks_its_schema_is_rejected_and_kept_with_the_reason(tmp_path: Path) -> None:
    rows = prompts(4, schema=SCHEMA)
    script = {"question 0": '{"n": 1}', "question 1": '{"n": "x"}', "question 2": "{", "question 3": '```json\n{"n": 2}\n```'}
    labelled = label(rows, EchoTeacher(script=script), tmp_path)
    assert (labelled.counts.answered, labelled.counts.rejected) == (2, 2)
    refused = {row["id"]: row["refused"] for _, row in read_lines(tmp_path / "rejected.jsonl")}
    assert "$.n" in refused["r1"]["reason"]
    assert "not JSON" in refused["r2"]["reason"]
    assert refused["r2"]["answer"] == "{"


def test_the_reasoning_of_a_given_answer_is_kept(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello", "reasoning": "be kind"}]
    labelled = label([prompt_from_row({"id": "a", "messages": messages})], EchoTeacher(), tmp_path)
    assert next(iter(labelled)).answer.reasoning == "be kind"


def test_the_folder_records_what_the_teacher_was_told(tmp_path: Path) -> None:
    labelled = label(prompts(1), EchoTeacher(), tmp_path, settings=Labelling(contract=TOLD))
    assert labelled.contract == TOLD
    assert "contract.json" in json.loads((tmp_path / "manifest.json").read_text("utf-8"))["files"]
    assert verify(tmp_path) == []
    assert label(prompts(1), EchoTeacher(), tmp_path, settings=Labelling(contract=TOLD)).up_to_date


def test_another_contract_is_recorded_also_where_every_row_arrives_answered(tmp_path: Path) -> None:
    rows = prompts(2, assistant="hello")
    label(rows, EchoTeacher(), tmp_path)
    again = label(rows, EchoTeacher(), tmp_path, settings=Labelling(contract=TOLD))
    assert not again.up_to_date
    assert again.contract == TOLD


def test_a_damaged_contract_is_named_with_the_remedy(tmp_path: Path) -> None:
    labelled = label(prompts(1), EchoTeacher(), tmp_path)
    (tmp_path / "contract.json").write_text("[", "utf-8")
    with pytest.raises(DataError, match=r"contract\.json is damaged.*[Ll]abel again"):
        _ = labelled.contract
    (tmp_path / "contract.json").unlink()
    assert label(prompts(1), EchoTeacher(), tmp_path).contract == Contract()
