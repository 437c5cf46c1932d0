"""The loss curve: well-formed, told to those who cannot see it, on the scale that shows most."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.report.losscurve import MAX_DOTS, loss_curve
from pillm.report.trainingfile import accepted


def drawn(train: list[float], validation: list[float], width: int = 640) -> ElementTree.Element:
    log = [{"step": 10 * number, "loss": loss} for number, loss in enumerate(train, 1)]
    found = [{"step": 10 * number, "validation_loss": loss} for number, loss in enumerate(validation, 1)]
    record = accepted({"log": log, "validation": found})
    assert record is not None
    return ElementTree.fromstring(loss_curve(record, "about <it>", width))


def texts(svg: ElementTree.Element, class_: str) -> list[Any]:
    return [one.text for one in svg.findall(".//text") if one.get("class") == class_]


def heights(svg: ElementTree.Element, name: str) -> list[float]:
    line = svg.find(f".//g[@class='k-{name}']/polyline")
    assert line is not None
    return [float(point.split(",")[1]) for point in line.get("points", "").split()]


@pytest.mark.parametrize("width", [640, 360])
def test_both_losses_are_curves_and_the_best_validation_is_marked(width: int) -> None:
    svg = drawn([2.5, 2.0, 1.5], [2.2, 1.8, 1.9], width)
    assert heights(svg, "training") == sorted(heights(svg, "training"))
    assert len(svg.findall(".//circle[@class='dot']")) == 3, "validations are few: each is a dot"
    assert len(svg.findall(".//circle[@class='halo']")) == 1
    assert texts(svg, "label picked") == ["best 1.8"]
    assert {"training", "validation", "loss", "steps →"} == set(texts(svg, "axis"))


def test_a_distillation_is_drawn_by_the_cross_entropy_that_its_validations_measure() -> None:
    log = [{"step": 10, "loss": 7.5, "divergence": 9.0, "cross_entropy": 2.0}, {"step": 20, "loss": 6, "cross_entropy": 1.0}]
    record = accepted({"log": log, "validation": [{"step": 20, "validation_loss": 1.0}]})
    assert record is not None
    svg = ElementTree.fromstring(loss_curve(record, "about", 640))
    dot = svg.find(".//g[@class='k-validation']/circle[@class='dot']")
    assert dot is not None
    assert heights(svg, "training")[-1] == pytest.approx(float(dot.get("cy", "")), abs=0.1)
    assert "cross-entropy" in texts(svg, "axis")
    assert "training cross-entropy 2 at step 10; training cross-entropy 1 at step 20" in [
        one.text for one in svg.findall(".//title")
    ]


def test_it_is_told_to_screen_readers() -> None:
    svg = drawn([2.5, 1.5], [2.2])
    assert (svg.get("role"), svg.get("aria-label")) == ("img", "about <it>")
    titles = [one.text for one in svg.findall(".//title")]
    assert "training loss 2.5 at step 10; training loss 1.5 at step 20" in titles
    assert "validation loss 2.2 at step 10" in titles


def test_only_the_curve_that_is_there_is_drawn_and_named() -> None:
    train, validation = drawn([2, 1], []), drawn([], [2, 1])
    assert [len(svg.findall(".//polyline")) for svg in (train, validation)] == [1, 1]
    assert "validation" not in texts(train, "axis")
    assert train.find(".//circle") is None
    assert "training" not in texts(validation, "axis")


def test_a_curve_of_one_point_is_a_dot() -> None:
    assert len(drawn([2.0], []).findall(".//circle[@class='dot']")) == 1


def test_many_validations_are_a_line_without_dots() -> None:
    assert drawn([], [1.0] * (MAX_DOTS + 1)).find(".//circle[@class='dot']") is None


def test_the_scale_is_logarithmic_only_where_losses_differ_by_much() -> None:
    assert "loss" in texts(drawn([3.0, 0.3], []), "axis")
    assert "loss, logarithmic" in texts(drawn([3.0, 0.1], []), "axis")
    assert "loss" in texts(drawn([3.0, -0.1], []), "axis"), "a negative loss has no logarithm"
    assert texts(drawn([3.0, 0.3], []), "tick")[:4] == ["0", "1", "2", "3"]


def test_a_loss_of_zero_stands_at_the_foot_of_a_logarithmic_scale() -> None:
    levels = heights(drawn([3.0, 0.5, 0.0], []), "training")
    assert levels == sorted(levels)
    assert levels[-1] < 340


@pytest.mark.parametrize("loss", [0.0, 1e-9, 1e-300])
def test_a_loss_that_is_nearly_nothing_throughout_is_a_line_at_the_foot(loss: float) -> None:
    svg = drawn([loss, loss / 2, 0.0], [])
    assert texts(svg, "tick")[:6] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert len(set(heights(svg, "training"))) == 1
    assert "loss" in texts(svg, "axis")


def test_one_wild_loss_hides_no_other() -> None:
    levels = heights(drawn([1e6, *(2.0 - number / 50 for number in range(40))], []), "training")
    assert levels == sorted(levels)
    assert len(set(levels)) > 30, "the losses after the first are drawn apart"
    assert "10\u202f000" in texts(drawn([1e6, 2.0, 1.9], []), "tick")


def test_the_name_of_the_best_keeps_clear_of_a_curve_that_is_one_dot() -> None:
    svg = drawn([2.34], [2.2])
    name, (first, *_) = svg.find(".//text[@class='label picked']"), svg.findall(".//circle[@class='dot']")
    assert name is not None
    assert float(name.get("y", 0)) - 13 > float(first.get("cy", 0))


def test_the_name_of_the_best_keeps_clear_of_the_curves() -> None:
    near = drawn([2.5, 2.2], [3.0, 2.1])
    ring, name = near.find(".//circle[@class='halo']"), near.find(".//text[@class='label picked']")
    assert ring is not None
    assert name is not None
    assert float(name.get("y", 0)) > float(ring.get("cy", 0)), "below: the training curve passes above"
    free = drawn([1.0, 0.5], [2.5, 2.4])
    ring, name = free.find(".//circle[@class='halo']"), free.find(".//text[@class='label picked']")
    assert ring is not None
    assert name is not None
    assert float(name.get("y", 0)) != float(ring.get("cy", 0))


losses = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=30)


@settings(max_examples=200, deadline=None)
@given(losses, losses, st.sampled_from([640, 360]))
def test_every_point_of_any_curve_lies_in_the_picture(train: list[float], validation: list[float], width: int) -> None:
    if not any(abs(loss) <= 2**53 for loss in (*train, *validation)):
        return
    svg = drawn(train, validation, width)
    _, _, right, bottom = map(float, svg.get("viewBox", "").split())
    for line in svg.findall(".//polyline"):
        for point in line.get("points", "").split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= right
            assert 0 <= y <= bottom
    assert len(texts(svg, "tick")) <= 16
