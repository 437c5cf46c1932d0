"""`report.md`: tables that stay tables, whatever the rows say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.report.markdown import code, escaped, markdown, table


def report(**changed: Any) -> dict[str, Any]:
    whole = json.loads((Path(__file__).parent / "data/report.json").read_text("utf-8"))
    return {**whole, **changed}


def test_every_part_of_a_report_is_there() -> None:
    said = markdown(report())
    for heading in ("# quickstart", "## Scores", "### Held-out", "### Hand-written", "## Where quality was lost", "## Files",
                    "## Speed", "## Training", "## Gates", "## Wrong rows", "## The run"):  # fmt: skip
        assert f"\n{heading}\n" in f"\n{said}", heading
    assert "**2.00 MB**" in said
    assert "❌ 1 of 1 gates not met." in said
    assert "| Q8\\_0 | 0.900 [0.880, 0.920] | 1 |" in said
    assert "10 in = 7 answered + 1 rejected + 1 failed + 1 pending" in said
    assert "token parity: 9 rows, 0 mismatches" in said


def test_a_gate_that_was_not_judged_is_neither_met_nor_missed() -> None:
    gate = {**report()["gates"][0], "met": None, "value": None, "bound": None, "reason": "its measurement is void (7 pages)."}
    said = markdown(report(gates=[gate]))
    assert "❔ 1 of 1 gates not judged: the machine was disturbed." in said
    assert "**not judged**: its measurement is void (7 pages)." in said
    bench = {**report()["benchmarks"][0], "void": ["7 pages were swapped meanwhile"]}
    assert f"{bench['basis']}, void" in markdown(report(benchmarks=[bench]))
    assert "no gate is judged by it: 7 pages were swapped meanwhile" in markdown(report(benchmarks=[bench]))


def test_a_metric_that_applied_to_fewer_rows_says_to_how_many() -> None:
    found = report()["evaluations"][:1]
    found[0]["metrics"]["exact"]["rows"] = 7
    said = markdown(report(evaluations=found))
    assert "| Teacher | 0.950 [0.930, 0.970] n=7 | 1 |" in said
    assert "n=" not in markdown(report())


def test_tool_calls_are_shown_in_the_wrong_rows() -> None:
    right = '[{"name":"light","arguments":{"on":true}}]'
    answers = [{"subjects": ["a.gguf"], "answer": right.replace("true", "false")}]
    row = {**report()["wrong"]["rows"][0], "reference": right, "answers": answers}
    said = markdown(report(wrong={"count": 1, "rows": [row]}))
    assert f"expected: `{right}`" in said
    assert f"`{right.replace('true', 'false')}`" in said


def test_a_training_is_a_sentence_its_figures_and_a_table_of_losses() -> None:
    said = markdown(report())
    assert "Training loss fell from 2.5 to 0.25 by step 30." in said
    assert "- Rows left out: too long (2)" in said
    assert "| step | training loss | validation loss |\n| --: | --: | --: |\n| 10 | 2.5 | 2 |\n| 20 | 0.75 | 0.5 |" in said
    unlogged = {**report()["training"], "loss": [], "validation": [], "best": None}
    assert "validation loss |" not in markdown(report(training=unlogged))


def test_empty_parts_are_left_out() -> None:
    said = markdown(report(pick=None, evaluations=[], ladder=[], models=[], benchmarks=[], plans=[], gates=[], parity=None,
                           wrong={"count": 0, "rows": []}, notes=[], seconds={}, splits={}, training=None))  # fmt: skip
    assert re.findall("^#+ .*$", said, re.MULTILINE) == ["# quickstart", "## The run"]


def test_tables_have_one_cell_per_column() -> None:
    for block in re.findall(r"(?:^\|.*\n)+", markdown(report()), re.MULTILINE):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(counts) == 1, block


@settings(deadline=None)
@given(st.text())
def test_code_is_one_span_that_nothing_ends(said: str) -> None:
    made = code(said)
    assert "\n" not in made
    assert not re.search(r"(?<!\\)\|", made)
    if made != "(empty)":
        fence = re.match("`+", made)
        assert fence
        inner = made[len(fence[0]) : -len(fence[0])]
        assert fence[0] not in inner.strip("` ") or len(fence[0]) > max(len(run) for run in re.findall("`+", inner))


@settings(deadline=None)
@given(st.text())
def test_escaped_text_keeps_to_its_line_and_makes_nothing(said: str) -> None:
    made = escaped(said)
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_<\[|#]", made)
    assert "\n" not in made
    assert "\r" not in made


@pytest.mark.parametrize("hostile", ["a|b", "`| x `", "<script>alert(1)</script>", "![x](http://x)", "\n# heading", "a\u2028b"])
def test_hostile_rows_stay_in_their_place(hostile: str) -> None:
    wrong = report()["wrong"]["rows"][0]
    row = {**wrong, "prompt": hostile, "reference": hostile, "answers": [{"subjects": [hostile], "answer": hostile}]}
    said = markdown(report(wrong={"count": 1, "rows": [row]}, recipe=hostile, notes=[hostile]))
    outside = re.sub(r"(`+)[^\n]*?\1", "", said)
    assert not re.search(r"(?<!\\)<script", outside)
    assert not re.search(r"(?<!\\)\]\(http", outside)
    assert len(re.findall("^# ", said, re.MULTILINE)) == 1


def test_a_table_is_aligned_as_told() -> None:
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| :-- | --: |\n| 1 | 2 |"
