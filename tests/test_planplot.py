"""The picture of plans."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

import pillm
from pillm.report.planplot import plan_page, plan_picture, plan_svg, write_plot
from tests.benchmarks.planning.rows import MODELS

PLANS = [
    plan
    for device in ("pi4-2gb", "pi5-8gb")
    for plan in pillm.plan_table(
        MODELS["Llama-3.2-1B"] | {"name": "Llama"}, device, lengths=pillm.Lengths(prompt=500, answer=50)
    )
]


def test_every_plan_with_a_speed_is_a_mark_that_says_what_it_is() -> None:
    root = ET.fromstring(plan_svg(PLANS))
    titles = [one.text or "" for one in root.iter() if one.tag.endswith("title")]
    assert len(titles) == sum(one.tg_tps is not None for one in PLANS)
    assert any("Llama F16 on pi4-2gb" in title and "does not fit" in title for title in titles)


def test_the_page_stands_alone_and_holds_the_table() -> None:
    page = plan_page(PLANS)
    assert "default-src &#x27;none&#x27;" in page
    assert page.count("<tr>") == len(PLANS) + 1
    assert "Llama Q4_K_M on pi5-8gb" in page
    assert "<script" not in page


def test_a_name_from_outside_cannot_break_out() -> None:
    page = plan_page([replace(PLANS[0], model="<script>alert(1)</script>")])
    assert "<script>" not in page


def test_without_any_speed_that_is_said() -> None:
    unknown = [replace(one, tg_tps=None, tg_interval=None) for one in PLANS]
    assert plan_picture(unknown) is None
    assert "No speed is known" in plan_page(unknown)
    assert "No speed is known" in plan_svg(unknown)


@pytest.mark.parametrize(("name", "begins"), [("a.svg", "<svg "), ("a.html", "<!doctype html>"), ("A.SVG", "<svg ")])
def test_the_name_of_the_file_chooses_the_form(tmp_path: Path, name: str, begins: str) -> None:
    write_plot(PLANS, tmp_path / name)
    assert (tmp_path / name).read_text("utf-8").startswith(begins)


@pytest.mark.parametrize("name", ["a.png", "a", "a.pdf", "a.htm"])
def test_a_form_that_cannot_be_drawn_is_refused_with_those_that_can(tmp_path: Path, name: str) -> None:
    with pytest.raises(pillm.ConfigError, match=r"are drawn as \.html or \.svg\. Call it a\.svg"):
        write_plot(PLANS, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_how_far_the_speeds_are_trusted_stands_beside_them() -> None:
    assert "<td>3/3</td>" in plan_page(PLANS), "Q4_K_M on a Pi 4"
    assert "<td>1/3</td>" in plan_page(PLANS), "on a Pi 5 its prefill is an estimate"


def test_marks_of_one_quantisation_that_stand_almost_in_one_place_have_one_name() -> None:
    boards = [plan for device in ("pi4-2gb", "pi4-4gb") for plan in pillm.plan_table(MODELS["Llama-3.2-1B"], device)]
    root = ET.fromstring(plan_svg(boards))
    said = [text.text for text in root.iter() if text.tag.endswith("text")]
    assert {said.count(one.quant) for one in boards} == {1}
    apart = [text.text for text in ET.fromstring(plan_svg(PLANS)).iter() if text.tag.endswith("text")]
    assert apart.count("F16") == 2, "a Pi 4 and a Pi 5 are apart"
