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


def test_no_two_series_look_alike_however_many_there_are() -> None:
    speeds = [replace(PLANS[0], model=f"m{number}", tg_tps=2.0 + number, tg_interval=None) for number in range(24)]
    root = ET.fromstring(plan_svg(speeds))
    looks = set()
    for group in root.iter():
        if group.tag.endswith("}g") and group.get("color") and any(part.tag.endswith("title") for part in group):
            shape = group[-1]
            sides = (shape.get("d") or "circle").count("L")
            looks.add((group.get("color"), sides))
    assert len(looks) == 24
    assert sum(text.text == "m23" for text in root.iter() if text.tag.endswith("text")) == 1, "the legend names each"
    height = float((root.get("viewBox") or "").split()[-1])
    assert max(float(text.get("y") or 0) for text in root.iter() if text.tag.endswith("text")) < height


def test_a_line_shows_the_memory_that_each_device_has_and_misfits_stand_right_of_it() -> None:
    root = ET.fromstring(plan_svg(PLANS))
    said = [text.text for text in root.iter() if text.tag.endswith("text")]
    assert {"memory of pi4-2gb", "memory of pi5-8gb"} <= set(said)
    ends = {float(line.get("x1") or 0) for line in root.iter() if line.get("class") == "room"}
    assert len(ends) == 2
    for group in root.iter():
        title = next((part.text or "" for part in group if part.tag.endswith("title")), "")
        if "on pi4-2gb" in title:
            mark = group[-1]
            place = float(mark.get("cx") or (mark.get("d") or "M0").split()[0][1:])
            assert (place > min(ends)) is ("does not fit" in title), title


def test_a_label_that_stands_far_from_its_mark_has_a_line_to_it() -> None:
    crowd = [replace(PLANS[0], quant=f"Q{number}_K_M", tg_interval=None, tg_tps=9.0) for number in range(12)]
    root = ET.fromstring(plan_svg(crowd))
    labels = [(float(text.get("x") or 0), float(text.get("y") or 0)) for text in root.iter() if text.get("class") == "label"]
    assert len(labels) == len(set(labels)) == 12
    assert any(line.get("class") == "leader" for line in root.iter())


def test_what_fits_tightly_is_marked_so() -> None:
    tight = replace(PLANS[0], fits=True, tight=True)
    root = ET.fromstring(plan_svg([tight, replace(tight, tight=False), replace(tight, tight=False, fits=False)]))
    groups = [group for group in root.iter() if any(part.tag.endswith("title") for part in group)]
    said = {(group[-1].get("class"), (group[0].text or "").rpartition(", ")[2]) for group in groups}
    assert {("tight", "fits tightly"), ("halo", "does not fit")} < said
    assert len(said) == 3
