"""Predictions: written whole, read back, compared in pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.errors import DataError
from pillm.stages.predictions import Prediction, compare, metric_names, read_predictions, tally, write_predictions


def prediction(id: str, **scores: float) -> Prediction:
    return Prediction(
        id=id, prompt="p", reference="r", compared_with="reference", answer="a", finish_reason="stop", scores=scores
    )


@settings(deadline=None, max_examples=50)
@given(st.text(), st.text(), st.one_of(st.none(), st.text()))
def test_predictions_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, prompt: str, answer: str, truth: str | None
) -> None:
    folder = tmp_path_factory.mktemp("predictions")
    rows = [
        Prediction(
            id="1", prompt=prompt, reference=truth, compared_with=None, answer=answer, finish_reason="stop",
            scores={"exact": 0.5}, failure={"kind": "server", "message": prompt}, tags=("fr", answer),
        ),
    ]  # fmt: skip
    write_predictions(folder, rows, {"rows": 1})
    assert read_predictions(folder) == rows == read_predictions(folder / "predictions.jsonl")


CALL = {"id": "c1", "type": "function", "function": {"name": "light", "arguments": '{"on": true, "area": "é"}'}}


def test_tool_calls_come_back_and_stand_only_where_there_are_any(tmp_path: Path) -> None:
    calls = replace(prediction("1"), tool_calls=(CALL,), reference_tool_calls=(CALL, CALL))
    write_predictions(tmp_path, [calls, prediction("2")], {})
    assert read_predictions(tmp_path) == [calls, prediction("2")]
    lines = (tmp_path / "predictions.jsonl").read_text("utf-8").splitlines()
    assert ["tool_calls" in line for line in lines] == [True, False]


def test_predictions_written_before_there_were_tool_calls_are_read(tmp_path: Path) -> None:
    (tmp_path / "predictions.jsonl").write_text(
        '{"id": "1", "prompt": "p", "reference": "r", "compared_with": "reference", "answer": "a", "finish_reason": "stop", '
        '"scores": {}, "failure": null, "tags": [], "group": null}\n'
    )
    assert read_predictions(tmp_path) == [prediction("1")]


def test_answer_and_truth_are_shown_with_their_calls_as_compact_json_without_ids() -> None:
    row = replace(prediction("1"), answer="", tool_calls=(CALL,), reference_tool_calls=({**CALL, "id": "c2"},))
    assert row.shown_answer == '[{"name":"light","arguments":{"area":"é","on":true}}]'
    assert row.shown_reference == f"r\n{row.shown_answer}"
    assert (prediction("2").shown_answer, replace(prediction("3"), answer=None).shown_answer) == ("a", None)


@pytest.mark.parametrize("torn", ["{torn", '{"n": NaN}', None, "[" * 9999, ["é"]])
def test_a_call_that_was_written_badly_is_shown_as_it_was_written(torn: object) -> None:
    for call in ({"function": {"name": "light", "arguments": torn}}, {"name": "light", "arguments": torn}, {"function": torn}):
        assert replace(prediction("1"), tool_calls=(call,)).shown_answer


def test_a_lone_surrogate_in_an_answer_does_not_lose_the_evaluation(tmp_path: Path) -> None:
    row = Prediction(
        id="1", prompt="\ud800", reference=None, compared_with=None, answer="a\udfffb", finish_reason="stop", scores={}
    )
    write_predictions(tmp_path, [row], {})
    assert [(one.prompt, one.answer) for one in read_predictions(tmp_path)] == [("\ufffd", "a\ufffdb")]


def test_nothing_half_written_is_left_when_writing_fails(tmp_path: Path) -> None:
    rows = [prediction("1", exact=1.0)]
    write_predictions(tmp_path, rows, {})

    def torn() -> object:
        yield prediction("2", exact=0.0)
        raise RuntimeError("the subject died")

    with pytest.raises(RuntimeError):
        write_predictions(tmp_path, torn(), {})  # type: ignore[arg-type]
    assert read_predictions(tmp_path) == rows
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evaluation.json", "predictions.jsonl"]


@pytest.mark.parametrize("line", ['{"id": "1"}', '{"id": "1", "tags": [], "colour": 1}', '{"tags": null}'])
def test_a_file_that_holds_no_predictions_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "rows.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:1: not a prediction"):
        read_predictions(tmp_path / "rows.jsonl")


def test_two_subjects_are_compared_on_the_metrics_and_rows_they_share() -> None:
    left = [prediction("1", exact=0.0, json=1.0), prediction("2", exact=1.0), prediction("3", exact=1.0)]
    right = [prediction("1", exact=1.0, fields=1.0), prediction("2", exact=1.0)]
    found = compare(left, right)
    assert list(found) == ["exact"]
    assert (found["exact"].mean, found["exact"].rows, found["exact"].better, found["exact"].worse) == (0.5, 2, 1, 0)


def test_metrics_are_named_in_the_order_of_first_use() -> None:
    assert metric_names([prediction("1", b=0.0), prediction("2", a=0.0, b=1.0)]) == ["b", "a"]


def test_rows_without_answer_and_answers_cut_off_are_counted() -> None:
    cut = Prediction(id="1", prompt="", reference=None, compared_with=None, answer="", finish_reason="length", scores={})
    lost = Prediction(
        id="2",
        prompt="",
        reference=None,
        compared_with=None,
        answer=None,
        finish_reason=None,
        scores={},
        failure={"kind": "server"},
    )
    assert tally([cut, lost, prediction("3")]) == {"failed": 1, "cut": 1}
