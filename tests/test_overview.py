"""The top of the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pillm.report.overview import cards, hero, navigation


def report(**changed: Any) -> dict[str, Any]:
    whole = json.loads((Path(__file__).parent / "data/report.json").read_text("utf-8"))
    return {**whole, **changed}


def test_the_verdict_stresses_its_figures_and_the_other_sets_are_told_at_once() -> None:
    said = hero(report())
    assert "<em>2.00 MB</em>" in said
    assert "<em>94.7 %</em>" in said
    assert "On other sentences, exact: hand-written 0.700 (teacher 0.800)." in said
    assert '<span class="badge bad">✗ 1 of 1 gates not met</span>' in said


def test_gates_that_were_not_judged_are_neither_good_nor_bad() -> None:
    said = hero(report(gates=[{**report()["gates"][0], "met": None}]))
    assert '<span class="badge unsure">? 1 of 1 gates not judged: the machine was disturbed</span>' in said


def test_there_are_four_cards() -> None:
    said = cards(report())
    assert said.count('<section class="card">') == 4
    assert "5.0 times that" in said
    assert '<span class="basis predicted">predicted</span>' in said
    assert "✓ token parity: 0 mismatches in 9 rows" in said


def test_what_is_not_known_has_no_card() -> None:
    assert cards(report(pick=None)).count('<section class="card">') == 1
    assert cards(report(benchmarks=[])).count('<section class="card">') == 3
    assert "Chosen: the smallest file that scores within 0.02" in cards(report(sizes={}))
    assert "✗ token parity: 2 mismatches" in cards(report(parity={"rows": 9, "mismatches": 2}))
    assert "Score kept" not in cards(report(pick={**report()["pick"], "kept": None, "teacher": None}))
    assert "badge" not in hero(report(gates=[]))
    assert "other sentences" not in hero(report(evaluations=report()["evaluations"][:3]))


def test_only_sections_that_are_there_are_linked() -> None:
    assert navigation({"size", "run"}).count("<a ") == 2
