"""How speeds went since a run's folder was made."""

from __future__ import annotations

from typing import Any

from pillm.artifacts import Benchmark
from pillm.performance.history import Measured
from pillm.performance.trend import series_of
from pillm.report.trends import trend_document, trend_lines, trend_panels, trend_plot


def measured(sequence: int, tg: float, **more: Any) -> Measured:
    facts: dict[str, Any] = {"model": "a.gguf", "device": "here", "basis": "measured", "pp_tps": 40.0, "tg_tps": tg}
    record = Benchmark(**facts | more, samples={"tg_tps": [tg * 0.95, tg, tg * 1.05]})
    return Measured(sequence=sequence, at="2026-05-01T10:00:00+00:00", record=record)


REPORT = {"trends": trend_document(series_of([measured(2, 8.0), measured(4, 3.0, void=("hot",)), measured(6, 9.0)]))}


def test_one_measurement_is_no_trend() -> None:
    assert trend_document(series_of([measured(2, 8.0)])) == []
    assert trend_panels({"trends": []}, lambda _, model: model) is None
    assert trend_panels({}, lambda _, model: model) is None


def test_each_measurement_has_its_interval_and_says_whether_it_is_void() -> None:
    (one,) = REPORT["trends"]
    assert [(each["number"], each["void"]) for each in one["measured"]] == [(2, []), (4, ["hot"]), (6, [])]
    assert one["measured"][0]["low"] < 8.0 < one["measured"][0]["high"]


def test_a_line_of_text_says_where_it_began_and_ended() -> None:
    (line,) = trend_lines(REPORT)
    assert line.startswith("a.gguf on here: ")
    assert "over 3 measurements, 1 void" in line


def test_a_student_that_was_trained_anew_has_a_line_and_a_picture_of_its_own() -> None:
    files = [measured(2, 8.0, sha256="a" * 64), measured(4, 7.5, sha256="a" * 64), measured(6, 3.0, sha256="b" * 64)]
    report = {"trends": trend_document(series_of(files))}
    assert [[each["number"] for each in one["measured"]] for one in report["trends"]] == [[2, 4], [6]]
    old, new = trend_lines(report)
    assert "a.gguf (aaaaaaaa) on here: " in old
    assert "a.gguf (bbbbbbbb, which took the place of aaaaaaaa) on here: " in new
    assert "tok/s, measured once" in new
    shown = trend_panels(report, lambda _, model: model)
    assert shown is not None
    assert shown.count("<polyline") == 2
    assert "which took the place of aaaaaaaa" in shown


def test_a_void_measurement_is_hollow_and_the_line_passes_it_by() -> None:
    drawn = trend_plot(REPORT["trends"][0]["measured"], 430)
    assert drawn.count('class="dot"') == 2
    assert drawn.count('class="void"') == 1
    points = drawn.split('points="')[1].split('"')[0]
    assert len(points.split()) == 2
    assert "void: hot" in drawn


def test_the_panels_name_the_file_by_its_title() -> None:
    shown = trend_panels(REPORT, lambda _, model: model.upper())
    assert shown is not None
    assert "A.GGUF" in shown
