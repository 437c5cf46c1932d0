"""The schema of a choice; what the exporter writes is held against it in the plugin's own tests."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from pillm.report.choicefile import FIGURES, FLAGS, accepted
from pillm.report.choiceschema import choice_schema

TRIAL: dict[str, Any] = {
    "name": "Q4_0", "quant": "Q4_0", "bytes": 1000, "ram": 2000, **dict.fromkeys(FIGURES, 0.5), **dict.fromkeys(FLAGS, True),
    "scores": {}, "lost": None, "cut": 0, "types": {},
}  # fmt: skip
BASIS = {"compared": 9, "answer_tokens": 90, "scored": 9, "max_tokens": 80, "seen": False}
CHOICE: dict[str, Any] = {
    "version": 1, "device": "pi4-4gb", "picked": "Q4_0", "reason": "It is the best.", "metric": None, "rests_on": BASIS,
    "decisions": [], "trials": [TRIAL],
}  # fmt: skip
VALIDATOR = Draft202012Validator(choice_schema())


def test_a_choice_of_the_schema_is_read_whole_by_the_report() -> None:
    VALIDATOR.validate(CHOICE)
    found = accepted(CHOICE)
    assert found is not None
    assert (found["picked"], found["compared"], found["trials"][0]["score"]) == ("Q4_0", 9, 0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"trials": []},
        {"picked": None},
        {"rests_on": {}},
        {"version": 2},
        *({"trials": [{**TRIAL, key: "x"}]} for key in FIGURES),
    ],
)
def test_what_is_no_choice_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        VALIDATOR.validate({**CHOICE, **wrong})
