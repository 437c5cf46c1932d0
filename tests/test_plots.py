"""The sections with plots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pillm.report.plots import lost_section, section, size_section, speed_section, training_section


def report(**changed: Any) -> dict[str, Any]:
    whole = json.loads((Path(__file__).parent / "data/report.json").read_text("utf-8"))
    return {**whole, **changed}


def test_quality_against_size_needs_two_sizes() -> None:
    said = size_section(report())
    assert said is not None
    assert said.count("<svg") == 2, "one for wide screens, one for a phone"
    assert "Teacher: 0.950 [0.930, 0.970], 10.0 MB" in said
    assert size_section(report(sizes={})) is None


def test_the_ladder_colours_what_is_beyond_chance() -> None:
    said = lost_section(report())
    assert said is not None
    assert 'class="note worse">−0.050</text>' in said.replace(' text-anchor="start"', "")
    assert "1 up, 4 down" in said
    step = {**report()["ladder"][0], "high": 0.01}
    chance = lost_section(report(ladder=[step]))
    assert chance is not None
    assert "note same" in chance
    assert lost_section(report(evaluations=report()["evaluations"][:1])) is None


def test_what_training_gave_is_not_shown_as_a_loss() -> None:
    gain = {**report()["ladder"][0], "from": "b", "from_kind": "base", "mean": 0.8, "low": 0.7, "high": 0.9}
    said = lost_section(report(ladder=[gain]))
    assert said is not None
    assert "+0.800" not in said


def test_a_teacher_of_the_chosen_files_name_is_not_the_chosen_file() -> None:
    named = report()
    for one in named["evaluations"]:
        one["subject"] = "a.gguf"
    named["ladder"][0]["from"] = "a.gguf"
    said = lost_section(named)
    assert said is not None
    assert said.count("1 up, 4 down") == lost_section(report()).count("1 up, 4 down")  # type: ignore[union-attr]
    assert said.count('class="halo"') == 2, "one file is chosen, drawn twice"


def test_speeds_are_grouped_by_device_and_basis_and_what_is_unknown_is_left_out() -> None:
    said = speed_section(report())
    assert said is not None
    assert said.count('<div class="panel">') == 2
    assert said.count("<svg") == 3, "decode and prefill here, decode alone predicted"
    assert "predicted by arithmetic, not measured" in said
    assert "Fits." in said
    assert speed_section(report(benchmarks=[])) is None


def test_a_training_is_a_curve_with_its_figures_beside_it_and_without_a_curve_its_figures_alone() -> None:
    said = training_section(report())
    assert said is not None
    assert said.count("<svg") == 2, "one for wide screens, one for a phone"
    assert said.count("Validation loss was best at step 20: 0.5") == 3, "in words, and of each drawing"
    assert "<dt>Trainable parameters</dt><dd>25 %, 500 of 2\u202f000</dd>" in said
    unlogged = training_section(report(training={**report()["training"], "loss": [], "validation": [], "best": None}))
    assert unlogged is not None
    assert "<svg" not in unlogged
    assert "<dt>Steps</dt><dd>30, stopped early</dd>" in unlogged


def test_a_run_whose_trainer_left_no_record_has_no_training_section() -> None:
    assert training_section(report(training=None)) is None
    old = report()
    del old["training"]
    assert training_section(old) is None, "reports of before had none"


def test_a_section_has_a_heading_and_a_name() -> None:
    assert section("a", "Title", "", "x") == '<section id="a" class="part"><h2>Title</h2>x</section>'


def test_a_void_speed_is_drawn_as_one() -> None:
    whole = report()
    assert "hatching" not in str(speed_section(whole))
    whole["benchmarks"] = [{**one, "void": ["the clock fell"]} for one in whole["benchmarks"] if one["basis"] == "measured"]
    said = str(speed_section(whole))
    assert said.count('class="hatching"') == 2 * len(whole["benchmarks"]) > 0
    assert "Hatched ones are void: the machine was disturbed." in said
