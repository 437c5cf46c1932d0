"""The plots: well-formed, told to those who cannot see them, whatever the labels say."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.report.charts import Bar, Point, quality_against_size, quality_ladder, speed_bars
from pillm.report.elements import Markup


def point(label: str, kind: str, mean: float, bytes: int | None = None, picked: bool = False) -> Point:
    figure = {"mean": mean, "low": max(mean - 0.03, 0), "high": min(mean + 0.03, 1)}
    return Point(
        label=label, kind=kind, figure=figure, bytes=bytes, picked=picked, step="−0.010", rows="1 up, 4 down", tone="worse"
    )


POINTS = [
    point("Teacher", "teacher", 0.97, 10_000_000),
    point("F16", "model", 0.95, 4_000_000),
    point("IQ4_NL", "model", 0.93, 1_300_000, picked=True),
    point("Untrained base", "base", 0.05),
]


def drawn(markup: Markup) -> ElementTree.Element:
    return ElementTree.fromstring(markup)


@pytest.mark.parametrize("width", [880, 360])
def test_each_sized_subject_is_a_dot_with_a_whisker_and_a_label(width: int) -> None:
    svg = drawn(quality_against_size(POINTS, "exact", width))
    assert len(svg.findall(".//circle[@class='dot']")) == 3
    assert len(svg.findall(".//circle[@class='halo']")) == 1
    assert [one.text for one in svg.findall(".//text") if "label" in one.get("class", "")] == ["Teacher", "F16", "IQ4_NL"]
    assert svg.find(".//line[@class='teacher-line']") is not None


@pytest.mark.parametrize("width", [880, 360])
def test_the_ladder_has_a_rung_per_subject_and_says_what_is_off_the_scale(width: int) -> None:
    svg = drawn(quality_ladder(POINTS, "exact", width))
    assert len(svg.findall(".//line[@class='rung']")) == 4
    assert len(svg.findall(".//circle[@class='dot']")) == 3
    assert "◂ 0.050" in [one.text for one in svg.findall(".//text")]
    assert "−0.010" in [one.text for one in svg.findall(".//text[@class='note worse']")]


def test_bars_tell_measured_from_predicted() -> None:
    rows = [Bar(label="F16", value=400.0), Bar(label="Q8_0", value=655.0, picked=True)]
    measured, predicted = drawn(speed_bars(rows, "measured", 430)), drawn(speed_bars(rows, "predicted", 430))
    assert [one.get("class") for one in measured.findall(".//rect")] == ["bar measured", "bar measured picked"]
    assert [one.get("class") for one in predicted.findall(".//rect")] == ["bar predicted", "bar predicted picked"]
    widths = [float(one.get("width", "0")) for one in measured.findall(".//rect")]
    assert widths[0] / widths[1] == pytest.approx(400 / 655, rel=0.01)


def test_a_void_bar_is_hatched_within_its_ends_and_says_so() -> None:
    rows = [Bar(label="F16", value=400.0), Bar(label="Q8_0", value=300.0, void=True), Bar(label="Q4_0", value=1.0, void=True)]
    svg = drawn(speed_bars(rows, "measured", 430))
    bars, hatchings = svg.findall(".//rect"), svg.findall(".//path[@class='hatching']")
    assert [one.get("class") for one in bars] == ["bar measured", *["bar measured disturbed"] * 2]
    assert len(hatchings) == 2
    for bar, hatching in zip(bars[1:], hatchings, strict=True):
        left, top, width, height = (float(bar.get(name, "nan")) for name in ("x", "y", "width", "height"))
        points = [tuple(map(float, one.split())) for one in re.split("[ML]", hatching.get("d", ""))[1:]]
        assert points
        for across, down in points:
            assert left - 0.1 <= across <= left + width + 0.1
            assert top - 0.1 <= down <= top + height + 0.1
    assert [one.text for one in svg.findall(".//title")][
        1
    ] == "Q8_0: 300 tokens per second, measured, void: the machine was disturbed"


def test_plots_are_told_to_screen_readers() -> None:
    for svg in (
        quality_against_size(POINTS, "exact", 880),
        quality_ladder(POINTS, "exact", 880),
        speed_bars([Bar(label="a", value=1.0)], "measured", 430),
    ):
        root = drawn(svg)
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert root.findall(".//title")


@settings(deadline=None)
@given(st.text(max_size=30), st.floats(0, 1), st.integers(1, 10**13))
def test_no_label_and_no_figure_breaks_a_plot(label: str, mean: float, size: int) -> None:
    points = [*POINTS, point(label, "model", mean, size)]
    for width in (880, 360):
        drawn(quality_against_size(points, label, width))
        drawn(quality_ladder(points, label, width))
    drawn(speed_bars([Bar(label=label, value=mean, picked=True, void=True)], "measured", 430))


def test_bases_alone_are_drawn_too() -> None:
    drawn(quality_against_size([point("a", "base", 0.1, 10), point("b", "base", 0.2, 10)], "exact", 880))
    drawn(quality_ladder([point("a", "base", 0.1)], "exact", 880))
