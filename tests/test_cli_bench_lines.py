"""A record is told in lines: the headline, what else was timed, what weakens it."""

from __future__ import annotations

from pillm.cli.bench_lines import lines_of
from pillm.performance.benchmark import Benchmark, BenchWork, Point
from pillm.performance.medians import median


def test_an_encoder_s_lengths_are_all_told_beside_its_headline() -> None:
    works = [BenchWork(kind="pp", tokens=size) for size in (512, 32)]
    points = tuple(Point.of(work, [10.0, 11.0, 12.0]) for work in works)
    record = Benchmark(model="m", device="d", basis="measured", pp_tps=11.0, tg_tps=0.0, tg=0, points=points)
    assert [line.split()[0] for line in lines_of(record)[1:]] == ["pp32"]


def test_what_disturbed_a_long_run_is_said_beside_the_figures() -> None:
    record = Benchmark(
        model="m", device="d", basis="measured", pp_tps=11.0, tg_tps=1.0, disturbed={"sustained": ("the clock fell",)}
    )
    assert lines_of(record)[1:] == ["  disturbed: sustained: the clock fell."]


def test_the_three_figures_of_loading_are_told_apart() -> None:
    times = {"load_cold_ms": median((400.0,) * 3), "load_warm_ms": median((250.0,) * 3)}
    record = Benchmark(model="m", device="d", basis="measured", pp_tps=11.0, tg_tps=1.0, load_ms=14.0, times=times)
    assert [" ".join(line.split()) for line in lines_of(record)[1:]] == [
        "load 14 ms, once", "start to first token, from disk 400 ms", "start to first token, from memory 250 ms",
    ]  # fmt: skip


def test_what_is_void_says_what_becomes_of_it() -> None:
    record = Benchmark(model="m", device="d", basis="measured", pp_tps=11.0, tg_tps=1.0, void=("it was hot",))
    assert lines_of(record, "It is not kept (--no-history).")[1:] == [
        "  void: it was hot. It is not kept (--no-history). It is never compared."
    ]
