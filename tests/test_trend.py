"""Measurements become series, lines of blocks, and a table."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pillm.artifacts import Benchmark
from pillm.performance.history import Measured
from pillm.performance.medians import Median
from pillm.performance.preflight import Conditions
from pillm.performance.trend import ABOUT, COLUMNS, csv_rows, series_of, sparkline


def measured(sequence: int, **more: Any) -> Measured:
    facts: dict[str, Any] = {"model": "m", "device": "d", "basis": "measured", "pp_tps": 40.0, "tg_tps": 8.0, "threads": 4}
    return Measured(sequence=sequence, at="2026-05-01T10:00:00.000+00:00", record=Benchmark(**facts | more))


def test_a_line_goes_from_the_lowest_to_the_highest() -> None:
    assert sparkline([1.0, 2.0, 3.0]) == "▁▅█"
    assert sparkline([8.0, 8.01]) == "▄▅", "a hair's breadth is no trend"
    assert sparkline([5.0]) == "▄"
    assert sparkline([]) == ""


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=30))
def test_every_value_has_its_block(values: list[float]) -> None:
    assert len(sparkline(values)) == len(values)


def test_what_may_be_compared_is_one_series_and_void_ones_do_not_count() -> None:
    found = series_of([measured(1), measured(2, threads=2), measured(4, tg_tps=9.0), measured(7, void=("hot",))])
    assert [[one.sequence for one in series.measured] for series in found] == [[1, 4, 7], [2]]
    assert [one.sequence for one in found[0].counted] == [1, 4]
    assert found[0].line("tg_tps") == "▁█"


def test_a_file_that_was_made_anew_under_the_same_name_begins_a_line_of_its_own() -> None:
    old, new = "a" * 64, "b" * 64
    found = series_of([measured(1, sha256=old), measured(2, sha256=new), measured(3, sha256=new, model="renamed")])
    assert [[one.sequence for one in series.measured] for series in found] == [[1], [2, 3]]
    assert [(one.model, one.sha256, one.replaces) for one in found] == [("m", old, None), ("renamed", new, None)]
    again = series_of([measured(1, sha256=old), measured(2, sha256=new)])
    assert [one.replaces for one in again] == [None, old]


def test_two_boards_of_one_kind_are_two_lines() -> None:
    boards = [measured(number, conditions=Conditions(model="Pi", machine_id=name)) for number, name in enumerate("xyx")]
    assert [[one.sequence for one in series.measured] for series in series_of(boards)] == [[0, 2], [1]]


def test_the_table_has_the_known_columns_and_leaves_out_what_was_not_measured() -> None:
    assert COLUMNS == ("timestamp", "tokens_per_second", "init_ms", "decode_ms_per_token", "embed_ms")
    embed = Median(value=12.345, low=12, high=13)
    more = {"load_ms": 20.0, "times": {"embed_ms": embed}, "at": "2026-05-02T00:00:00+00:00", "sha256": "ab", "threads": None}
    rows = list(csv_rows([measured(1), measured(2, **more, void=("hot", "busy"))]))
    assert rows == [
        ("2026-05-01T10:00:00.000+00:00", "8.00", "", "125.00", "", "m", "", "d", "4", ""),
        ("2026-05-02T00:00:00+00:00", "8.00", "20.00", "125.00", "12.35", "m", "ab", "d", "", "hot; busy"),
    ]
    assert all(len(row) == len((*COLUMNS, *ABOUT)) for row in rows)


def test_what_an_emulator_did_is_no_part_of_what_was_measured() -> None:
    found = series_of([measured(1), measured(2, basis="emulated", tg_tps=0.1), measured(3)])
    assert [(one.basis, [each.sequence for each in one.measured]) for one in found] == [("measured", [1, 3]), ("emulated", [2])]
