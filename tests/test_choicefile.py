"""How an exporter chose, as the report takes it in: a stranger's words."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pillm.report import RunFacts, build_report, read_choice
from pillm.report.choicefile import MAX_REASON, MAX_TRIALS, accepted
from pillm.report.foreignjson import MAX_BYTES
from pillm.report.markdown import markdown
from pillm.report.page import page
from pillm.report.schema import SCHEMA

TRIAL = {"name": "Q4_0", "bytes": 1000, "kld": 0.01, "top1": 0.99, "score": 0.9, "tg_tps": 5.0, "front": True}
WHOLE = {"device": "pi4-4gb", "picked": "Q4_0", "reason": "It is the best.", "trials": [TRIAL]}
ROWS = {"in": 1, "answered": 1, "rejected": 0, "failed": 0, "pending": 0}
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*TRIAL, *WHOLE]), inner, max_size=6),
    max_leaves=20,
)


def written(folder: Path, text: str | bytes) -> Path:
    (folder / "choice.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def test_a_choice_is_read_smallest_file_first(tmp_path: Path) -> None:
    small = {**TRIAL, "name": "Q3_K", "bytes": 500, "front": False, "tg_tps": None}
    found = read_choice(written(tmp_path, json.dumps({**WHOLE, "trials": [TRIAL, small]})))
    assert found is not None
    assert [trial["name"] for trial in found["trials"]] == ["Q3_K", "Q4_0"]
    assert found["picked"] == "Q4_0"
    assert found["trials"][0]["tg_tps"] is None
    assert found["trials"][1]["front"]


@pytest.mark.parametrize(
    "text", ["", "[", "null", "[]", "{}", '{"trials": {}}', b"\xff\xfe", '{"trials": [[]]}', "[" * 100_000]
)
def test_what_is_no_choice_is_passed_over(tmp_path: Path, text: str | bytes) -> None:
    assert read_choice(written(tmp_path, text)) is None


def test_no_file_and_one_that_is_too_large_say_nothing(tmp_path: Path) -> None:
    assert read_choice(tmp_path) is None
    with (tmp_path / "choice.json").open("wb") as file:
        os.truncate(file.fileno(), MAX_BYTES + 1)
    assert read_choice(tmp_path) is None


@pytest.mark.parametrize(
    "wrong", [{"bytes": 0}, {"bytes": 1.5}, {"bytes": "many"}, {"kld": math.nan}, {"kld": -1}, {"kld": None}, {"name": ""}]
)
def test_a_trial_without_name_size_or_divergence_is_left_out(wrong: dict[str, Any]) -> None:
    found = accepted({**WHOLE, "trials": [{**TRIAL, **wrong}, TRIAL]})
    assert found is not None
    assert len(found["trials"]) == 1


def test_what_it_rests_on_is_read_where_it_makes_sense() -> None:
    found = accepted({**WHOLE, "metric": "fields", "rests_on": {"compared": 204, "scored": -1, "seen": True}})
    assert found is not None
    assert (found["metric"], found["compared"], found["scored"], found["seen"]) == ("fields", 204, None, True)
    odd = accepted({**WHOLE, "metric": 3, "rests_on": [1]})
    assert odd is not None
    assert (odd["metric"], odd["compared"], odd["scored"], odd["seen"]) == (None, None, None, False)


def test_long_words_and_many_trials_are_cut() -> None:
    trials = [{**TRIAL, "name": f"{number}" * 100} for number in range(MAX_TRIALS + 50)]
    found = accepted({**WHOLE, "reason": "x" * 10_000, "picked": "nobody", "trials": trials})
    assert found is not None
    assert len(found["trials"]) == MAX_TRIALS
    assert len(found["reason"]) == MAX_REASON
    assert found["picked"] is None, "what is not among the trials was not picked"


@settings(deadline=None, max_examples=60)
@given(JSON)
def test_no_words_of_a_stranger_break_a_report(said: Any) -> None:
    for one in (
        said,
        {**WHOLE, "rests_on": said, "metric": said},
        {**WHOLE, "trials": [TRIAL, said]},
        {**WHOLE, "device": said, "reason": said},
    ):
        report = build_report(RunFacts(recipe="r", rows=ROWS, choice=accepted(one)))
        Draft202012Validator(SCHEMA).validate(report)
        assert "<script" not in page(report)
        assert markdown(report)
