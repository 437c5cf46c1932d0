"""The page's tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pillm.report.tables import MAX_TAGS, heat, run_section, sets_section, tags_section


def report(**changed: Any) -> dict[str, Any]:
    whole = json.loads((Path(__file__).parent / "data/report.json").read_text("utf-8"))
    return {**whole, **changed}


def test_each_set_has_its_own_table_with_every_subject() -> None:
    said = sets_section(report())
    assert said is not None
    assert said.count("<table") == 2
    assert said.index("Held-out") < said.index("Hand-written")
    assert said.count("★") == 2
    assert said.count("1 without answer") == 5
    assert "never mixed into one score" in said
    assert sets_section(report(evaluations=[])) is None


def test_a_cell_deepens_with_the_score() -> None:
    assert "--depth:1.000" in heat({"mean": 1.0, "low": 1.0, "high": 1.0})
    assert "--depth:0.125" in heat({"mean": 0.5, "low": 0.4, "high": 0.6})
    assert "[0.000, 1.000] n=3<" in heat({"mean": 0.5, "low": 0.0, "high": 1.0, "rows": 3}, 4)
    assert "n=" not in heat({"mean": 0.5, "low": 0.0, "high": 1.0, "rows": 4}, 4)
    assert heat(None) == '<td class="none">–</td>'


def test_the_weakest_tags_come_first_and_many_are_cut() -> None:
    def figure(mean: float) -> dict[str, Any]:
        return {"exact": {"mean": mean, "low": mean, "high": mean, "rows": 3}}

    found = report()["evaluations"][:3]
    found[2]["tags"] = {f"tag{number}": figure(1 - number / 100) for number in range(60)}
    said = tags_section(report(evaluations=found))
    assert said is not None
    assert said.index("tag59") < said.index("tag58")
    assert f"The weakest {MAX_TAGS} of 60." in said
    assert ">tag0<" not in said
    assert tags_section(report(pick=None)) is None


def test_the_run_shows_files_gates_rows_time_versions_and_notes() -> None:
    said = run_section(report())
    for words in (
        "export/a.gguf",
        "ab" * 32,
        "✗ not met",
        "10 in = 7 answered",
        "train 5",
        "Time: 1 min 13 s",
        "0.1.0",
        "one thing to know",
    ):
        assert words in said, words
    void = run_section(report(gates=[{**report()["gates"][0], "met": None, "reason": "its measurement is void."}]))
    assert '<td class="unsure-text">? not judged: its measurement is void.</td>' in void
    bare = run_section(report(models=[], gates=[], seconds={}, versions={}, notes=[]))
    assert "<table" not in bare
    assert "10 in = " in bare
