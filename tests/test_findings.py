"""Findings: the file to ship, where quality was lost, the wrong rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pillm.artifacts import Evaluation, Figure
from pillm.report.findings import (
    MAX_TEXT,
    MAX_WRONG,
    load_predictions,
    main_metric,
    main_set,
    pick,
    wrong_count,
    wrong_rows,
)
from pillm.report.ladder import ladder
from pillm.stages.predictions import Prediction, write_predictions

SIZES = {"f16": 400, "q8": 200, "q4": 100}


def evaluation(subject: str, kind: Any, mean: float, set_: str = "test", predictions: Path | None = None) -> Evaluation:
    figure = Figure(mean=mean, low=mean, high=mean, rows=10)
    return Evaluation(subject=subject, kind=kind, set=set_, rows=10, metrics={"exact": figure}, predictions=predictions)


def prediction(number: int, right: bool, answer: str = "") -> Prediction:
    return Prediction(
        id=f"r{number}", prompt=f"say {number}", reference="yes", compared_with="reference", finish_reason="stop",
        answer=answer or ("yes" if right else "no"), scores={"exact": float(right)},
    )  # fmt: skip


def run(folder: Path, right: dict[str, set[int]], rows: int = 10, set_: str = "test") -> list[Evaluation]:
    kinds = {"teacher": "teacher", "base": "base", "checkpoint": "checkpoint"}
    found = []
    for subject, numbers in right.items():
        out = folder / subject / set_
        write_predictions(out, [prediction(number, number in numbers) for number in range(rows)], {})
        found.append(evaluation(subject, kinds.get(subject, "model"), len(numbers) / rows, set_, out))
    return found


def scores(set_: str, **means: float) -> list[Evaluation]:
    """Return what files scored on a set, their quantisation the name in capitals."""
    return [replace(evaluation(name, "model", mean, set_), quant=name.upper()) for name, mean in means.items()]


def test_the_smallest_file_within_two_hundredths_of_the_best_on_validation_rows_is_picked() -> None:
    reported = scores("test", f16=0.5, q8=0.9, q4=0.1)
    chosen = pick([*reported, *scores("validation", f16=0.95, q8=0.955, q4=0.935)], SIZES)
    assert chosen is not None
    assert (chosen.evaluation, chosen.by) == (reported[2], "validation"), "how it scores on reported rows plays no part"
    assert chosen.why == "the smallest file that scores within 0.02 of the best on the validation rows"
    worse = pick([*reported, *scores("validation", f16=0.95, q8=0.955, q4=0.934)], SIZES)
    assert worse is not None
    assert worse.evaluation is reported[1]


def test_what_the_exporter_chose_is_picked() -> None:
    found = [*scores("test", f16=1.0, q8=1.0, q4=0.2), *scores("validation", f16=1.0, q8=1.0, q4=0.2)]
    chosen = pick(found, SIZES, {"picked": "Q4"})
    assert chosen is not None
    assert (chosen.evaluation.subject, chosen.by) == ("q4", "choice")
    assert "choice.json" in chosen.why
    for nothing in ({"picked": None}, {"picked": "Q5"}, {}):
        other = pick(found, SIZES, nothing)
        assert other is not None
        assert other.evaluation.subject == "q8"


def test_without_validation_rows_the_pick_says_that_it_was_made_on_what_is_reported() -> None:
    for unseen in ([], scores("validation", q8=1.0)):  # not all were scored there
        chosen = pick([*scores("test", f16=0.95, q8=0.955, q4=0.935), *unseen], SIZES)
        assert chosen is not None
        assert (chosen.evaluation.subject, chosen.by) == ("q4", "reported")
        assert "on test, the very rows that are reported" in chosen.why


def test_the_only_file_was_not_chosen_by_anything() -> None:
    chosen = pick([evaluation("q4", "model", 0.1), evaluation("q8", "model", 1.0, "community")], SIZES)
    assert chosen is not None
    assert (chosen.evaluation.subject, chosen.evaluation.set, chosen.by) == ("q4", "test", "only")


def test_where_no_file_was_scored_none_is_picked() -> None:
    assert pick([], {}) is None
    assert pick([evaluation("t", "teacher", 1.0)], {}) is None


def test_rows_that_were_chosen_on_are_no_wrong_rows(tmp_path: Path) -> None:
    found = [*run(tmp_path, {"q4": set()}, rows=2), *run(tmp_path, {"q4": set()}, rows=3, set_="validation")]
    predictions = load_predictions(found)
    assert [row["set"] for row in wrong_rows(found, predictions, found[0])] == ["test", "test"]
    assert wrong_count(predictions, found[0], "exact") == 2


def test_the_main_metric_and_set_fall_back_to_the_first() -> None:
    other = Evaluation(subject="x", kind="model", set="mine", rows=1, metrics={"rouge": Figure(mean=1, low=1, high=1, rows=1)})
    assert (main_metric([other]), main_set([other])) == ("rouge", "mine")
    assert (main_metric([other, evaluation("y", "model", 1)]), main_set([other, evaluation("y", "model", 1)])) == (
        "exact",
        "test",
    )
    assert (main_metric([]), main_set([])) == (None, None)


def test_the_ladder_compares_each_step_over_the_same_rows(tmp_path: Path) -> None:
    whole = set(range(10))
    right = {
        "teacher": whole,
        "base": {0},
        "checkpoint": whole - {9},
        "q8": whole - {9},
        "f16": whole - {9},
        "q4": whole - {8, 9},
    }
    found = run(tmp_path, right)
    steps = ladder(found, load_predictions(found), SIZES)
    told = [(step["from"], step["to"], round(step["mean"], 6), step["better"], step["worse"]) for step in steps]
    assert told == [
        ("base", "checkpoint", 0.8, 8, 0),
        ("teacher", "checkpoint", -0.1, 0, 1),
        ("checkpoint", "f16", 0.0, 0, 0),
        ("f16", "q8", 0.0, 0, 0),
        ("f16", "q4", -0.1, 0, 1),
    ]
    assert all(step["low"] <= step["mean"] <= step["high"] for step in steps)


def test_subjects_of_one_name_are_told_apart_by_their_kind(tmp_path: Path) -> None:
    found = []
    for kind, right in (("teacher", {0, 1, 2, 3}), ("base", set()), ("checkpoint", {0, 1, 2}), ("model", {0, 1})):
        out = tmp_path / kind
        write_predictions(out, [prediction(number, number in right) for number in range(4)], {})
        found.append(evaluation("same", kind, len(right) / 4, predictions=out))
    predictions = load_predictions(found)
    steps = ladder(found, predictions, {"same": 1})
    assert [(step["from_kind"], step["to_kind"], step["mean"]) for step in steps] == [
        ("base", "checkpoint", 0.75), ("teacher", "checkpoint", -0.25), ("checkpoint", "model", -0.25),
    ]  # fmt: skip
    [lost, *_] = wrong_rows(found, predictions, found[-1])
    assert (lost["id"], lost["teacher"], [one["answer"] for one in lost["answers"]]) == ("r2", "yes", ["yes", "no"])
    assert wrong_count(predictions, found[-1], "exact") == 2


def test_without_a_checkpoint_the_largest_file_takes_its_place(tmp_path: Path) -> None:
    found = run(tmp_path, {"teacher": {1, 2}, "f16": {1}, "q4": {1}})
    assert [(step["from"], step["to"]) for step in ladder(found, load_predictions(found), SIZES)] == [
        ("teacher", "f16"), ("f16", "q4"),
    ]  # fmt: skip


def test_predictions_that_are_gone_leave_their_steps_out(tmp_path: Path) -> None:
    found = run(tmp_path, {"teacher": {1}, "f16": {1}})
    (tmp_path / "f16/test/predictions.jsonl").unlink()
    assert ladder(found, load_predictions(found), SIZES) == []
    assert wrong_rows(found, load_predictions(found), found[1]) == []


def test_wrong_rows_show_who_said_what_those_lost_on_the_way_first(tmp_path: Path) -> None:
    found = run(tmp_path, {"teacher": {0, 1, 2}, "base": set(), "checkpoint": {0, 1}, "f16": {0, 1}, "q4": {0}}, rows=4)
    rows = wrong_rows(found, load_predictions(found), found[-1])
    assert [row["id"] for row in rows] == ["r1", "r2", "r3"], "row 3 was wrong from the teacher on"
    assert rows[0]["teacher"] == "yes"
    assert rows[0]["answers"] == [{"subjects": ["checkpoint", "f16"], "answer": "yes"}, {"subjects": ["q4"], "answer": "no"}]
    assert wrong_count(load_predictions(found), found[-1], "exact") == 3


def test_wrong_rows_show_tool_calls(tmp_path: Path) -> None:
    def call(on: bool) -> dict[str, Any]:
        return {"id": str(on), "function": {"name": "light", "arguments": f'{{"on": {str(on).lower()}}}'}}

    said = replace(prediction(1, False), answer="", tool_calls=(call(False),), reference="", reference_tool_calls=(call(True),))
    write_predictions(tmp_path / "q4", [said], {})
    write_predictions(tmp_path / "teacher", [replace(said, tool_calls=(call(True),))], {})
    found = [
        evaluation(name, kind, 0.0, predictions=tmp_path / name) for name, kind in (("teacher", "teacher"), ("q4", "model"))
    ]
    row = wrong_rows(found, load_predictions(found), found[1])[0]
    right = '[{"name":"light","arguments":{"on":true}}]'
    assert (row["reference"], row["teacher"], row["answers"][0]["answer"]) == (right, right, right.replace("true", "false"))


def test_wrong_rows_are_few_and_from_every_set(tmp_path: Path) -> None:
    found = [*run(tmp_path, {"q4": set()}, rows=100), *run(tmp_path, {"q4": set()}, rows=5, set_="handwritten")]
    rows = wrong_rows(found, load_predictions(found), found[0])
    assert len(rows) == MAX_WRONG
    assert [row["set"] for row in rows] == ["test"] * 35 + ["handwritten"] * 5
    assert wrong_count(load_predictions(found), found[0], "exact") == 105


def test_long_and_broken_texts_are_cut_and_mended(tmp_path: Path) -> None:
    write_predictions(tmp_path, [prediction(1, False, "x" * 9000 + "\ud800"), prediction(2, False, "a\ud800b")], {})
    found = [evaluation("q4", "model", 0.0, predictions=tmp_path)]
    rows = wrong_rows(found, load_predictions(found), found[0])
    assert len(rows[0]["answers"][0]["answer"]) == MAX_TEXT + 2
    assert rows[1]["answers"][0]["answer"] == "a\ufffdb"
