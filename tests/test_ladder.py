"""The steps from teacher to device, each with its stage and the first row that got worse."""

from __future__ import annotations

from pathlib import Path

from pillm.report.findings import load_predictions
from pillm.report.ladder import STAGES, ladder
from pillm.stages.predictions import write_predictions
from tests.test_findings import SIZES, evaluation, prediction, run

WHOLE = set(range(10))


def test_each_step_says_which_stage_it_is(tmp_path: Path) -> None:
    right = {"teacher": WHOLE, "base": {0}, "checkpoint": WHOLE, "q8": WHOLE, "f16": WHOLE, "q4": WHOLE}
    found = run(tmp_path, right)
    steps = ladder(found, load_predictions(found), SIZES)
    assert [(step["stage"], step["from"], step["to"]) for step in steps] == [
        ("training", "base", "checkpoint"), ("training", "teacher", "checkpoint"), ("export", "checkpoint", "f16"),
        ("quantisation", "f16", "q8"), ("quantisation", "f16", "q4"),
    ]  # fmt: skip
    assert {step["stage"] for step in steps} <= set(STAGES)


def test_an_unmerged_adapter_tells_the_merge_from_the_training(tmp_path: Path) -> None:
    found = run(tmp_path, {"teacher": WHOLE, "checkpoint": {0, 1}, "f16": {0, 1}})
    write_predictions(tmp_path / "adapter", [prediction(number, True) for number in range(6)], {})
    found.append(evaluation("adapter", "adapter", 1.0, predictions=tmp_path / "adapter"))
    steps = ladder(found, load_predictions(found), SIZES)
    told = [(step["stage"], step["from"], step["to"], step["rows"], round(step["mean"], 3)) for step in steps]
    assert told == [
        ("training", "teacher", "adapter", 6, 0.0),
        ("merge", "adapter", "checkpoint", 6, -0.667),
        ("training", "teacher", "checkpoint", 10, -0.8),
        ("export", "checkpoint", "f16", 10, 0.0),
    ]


def test_a_file_on_its_device_stands_beside_the_same_file_here(tmp_path: Path) -> None:
    found = run(tmp_path, {"checkpoint": WHOLE, "f16": WHOLE, "q4": WHOLE})
    write_predictions(tmp_path / "there", [prediction(number, number > 2) for number in range(10)], {})
    found.append(evaluation("q4", "device", 0.7, predictions=tmp_path / "there"))
    step = ladder(found, load_predictions(found), SIZES)[-1]
    assert (step["stage"], step["from_kind"], step["to_kind"], step["worse"]) == ("device", "model", "device", 3)


def test_a_step_counts_changed_answers_and_names_the_first_that_got_worse(tmp_path: Path) -> None:
    found = run(tmp_path, {"checkpoint": WHOLE, "f16": WHOLE - {4, 7}})
    (step,) = ladder(found, load_predictions(found), SIZES)
    assert step["changed"] == 2
    assert step["first"] == {"id": "r4", "prompt": "say 4", "was": "yes", "became": "no"}
    same = run(tmp_path, {"checkpoint": WHOLE, "f16": WHOLE})
    assert "first" not in ladder(same, load_predictions(same), SIZES)[0]
