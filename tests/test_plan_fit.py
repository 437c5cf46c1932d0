"""The fit of the speed model: it gives the committed profiles, and errs as little as was promised."""

from __future__ import annotations

import pytest

from pillm.devices import PROFILES, device
from pillm.devices.speed import decode_speed, prefill_speed
from tests.benchmarks import plan_pi4
from tests.benchmarks.planning.boards import PI4, fit_pi4, pi4, pi5
from tests.benchmarks.planning.fitting import errors_of, left_out, mean, nine_in_ten, worst
from tests.benchmarks.planning.rows import measurements, rows_of
from tests.benchmarks.planning.writing import files


def test_the_committed_profiles_are_what_the_fit_gives() -> None:
    made = files()
    assert {path.name for path in made} == {"pi4-fit.yaml", "pi5-fit.yaml"}
    for path, text in made.items():
        assert path.parent == PROFILES / "families"
        assert path.read_text("utf-8") == text, "python -m tests.benchmarks.planning --write"


def test_every_row_has_a_source_and_a_shape_that_is_known() -> None:
    assert len(rows_of("pi4")) == 85
    assert {row.group for row in measurements()} == {"pi4", "pi4 again", "pi4 throttled", "pi4 ollama", "pi5", "pi5 2024"}
    assert all(row.tg_tps > 0 and row.shape.file_bytes for row in measurements())


def test_every_figure_that_was_promised_is_met() -> None:
    lines = list(plan_pi4.run(quick=True))
    assert len(lines) == 8
    assert [line.to_json() for line in lines if not line.met] == []


def test_the_rounded_figures_of_the_profile_predict_as_the_fit_does() -> None:
    profile = device("pi4-4gb")
    for row in rows_of("pi4"):
        (there,), (here,) = errors_of([row], pi4()), errors_of([row], profile)
        assert here.error == pytest.approx(there.error, abs=0.005)
        assert decode_speed(row.shape, profile)
        assert prefill_speed(row.shape, profile)


def test_a_board_that_was_too_hot_is_far_slower_than_predicted() -> None:
    hot = errors_of(rows_of("pi4 throttled"), pi4())
    known = nine_in_ten(left_out(rows_of("pi4"), PI4, fit_pi4))
    assert min(one.error for one in hot) > known, "each lies outside the interval"


def test_rows_of_other_years_and_models_are_predicted_too() -> None:
    assert mean(errors_of(rows_of("pi4 again"), pi4())) < 0.03
    assert worst(errors_of(rows_of("pi5 2024"), pi5(4))) < 0.03, "seven models of up to 6 billion weights, never fitted"
