"""Gates on a measurement: understood, refused before anything is timed, judged by the interval."""

from __future__ import annotations

from typing import Any

import pytest

from pillm.artifacts import Benchmark
from pillm.errors import ConfigError
from pillm.performance.demands import check_demand, check_figures, parse_demand
from pillm.performance.medians import Median, median


def record(*tg: float, **more: Any) -> Benchmark:
    samples = list(tg) or [8.0]
    return Benchmark(
        model="m", device="d", basis="measured", pp_tps=40.0, tg_tps=samples[0], samples={"tg_tps": samples}, **more
    )


@pytest.mark.parametrize(
    ("text", "figure", "sign", "number", "relative"),
    [
        ("tg_tps>=8", "tg_tps", ">=", 8.0, False),
        (" pp_tps >= 1e2 ", "pp_tps", ">=", 100.0, False),
        ("tg_tps>=0.95 of baseline", "tg_tps", ">=", 0.95, True),
        ("peak_memory<=900MB", "peak_memory", "<=", 9e8, False),
        ("bytes <= 1.5GiB", "bytes", "<=", 1.5 * 2**30, False),
        ("ttft_ms<=2s", "ttft_ms", "<=", 2000.0, False),
        ("exact>=0.9", "exact", ">=", 0.9, False),
    ],
)
def test_a_demand_is_read(text: str, figure: str, sign: str, number: float, relative: bool) -> None:
    found = parse_demand(text)
    assert (found.figure, found.sign, found.number, found.of_baseline) == (figure, sign, number, relative)


@pytest.mark.parametrize("text", ["", "tg_tps", "tg_tps=8", "tg_tps>=fast", "tg_tps>=8MB", "bytes<=5ms", "tg_tps>=1 of teacher",
                                  "bytes<=1MB of baseline", "tg_tps>=-1", "tg_tps>=nan"])  # fmt: skip
def test_a_demand_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--gate"):
        parse_demand(text)


@pytest.mark.parametrize(
    ("text", "metrics", "reason"),
    [
        ("tg_tp>=8", None, "no figure is called 'tg_tp'.*tg_tps"),
        ("exact>=0.9", None, "comes from --evaluation"),
        ("exact>=0.9", ["fields"], "Figures are: .*fields"),
        ("tg_tps>=1 of baseline", None, "there is no baseline"),
        ("exact>=1 of baseline", ["exact"], "baselines hold no scores"),
    ],
)
def test_a_demand_that_could_not_be_checked_is_refused_before_anything_is_timed(
    text: str, metrics: list[str] | None, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        check_figures([parse_demand(text)], metrics, baseline=False)


def outcome(text: str, *tg: float, base: tuple[float, ...] = (), **more: Any) -> str:
    baseline = record(*base) if base else None
    return check_demand(parse_demand(text), record(*tg, **more), baseline=baseline, scores={"exact": EXACT}).outcome


EXACT = Median(value=0.9, low=0.85, high=0.94)


def test_it_fails_only_where_the_whole_interval_is_on_the_wrong_side() -> None:
    assert outcome("tg_tps>=8", 8.5, 8.6, 8.4) == "met"
    assert outcome("tg_tps>=8", 7.5, 7.6, 7.4) == "failed"
    assert outcome("tg_tps>=8", 7.9, 8.2, 7.5) == "unsure"
    assert outcome("tg_tps>=8", 8.1, 8.2, 7.5) == "unsure"
    assert outcome("tg_tps>=8", 8.0, 8.0, 8.0) == "met"


@pytest.mark.parametrize(("samples", "said"), [((8.0,), "once"), ((8.0, 8.1), "twice")])
def test_what_was_timed_once_or_twice_is_never_certain(samples: tuple[float, ...], said: str) -> None:
    for text in ("tg_tps>=100000", "tg_tps>=1"):
        found = check_demand(parse_demand(text), record(*samples))
        assert found.outcome == "unsure"
        assert f"unsure: timed {said}, and fewer than 3 samples say nothing of chance, so it passes" in found.sentence
    assert outcome("tg_tps>=2 of baseline", *samples, base=(8.0, 8.0, 8.0)) == "unsure"
    assert outcome("tg_tps>=2 of baseline", 8.0, 8.0, 8.0, base=samples) == "unsure"
    assert outcome("load_ms<=1", load_ms=20.0) == "unsure"


def test_loading_is_judged_by_how_often_the_file_was_opened_anew() -> None:
    times = {"load_cold_ms": median((400.0, 410.0, 420.0))}
    assert outcome("load_cold_ms<=0.5s", times=times) == "met"
    assert outcome("load_cold_ms<=300", times=times) == "failed"
    assert outcome("load_warm_ms<=300", times=times) == "unknown"


def test_one_noisy_sample_of_many_fails_no_gate() -> None:
    assert outcome("tg_tps>=8", 8.5, 8.6, 8.4, 8.5, 1.0) != "failed"


def test_a_share_of_the_baseline_is_judged_by_the_interval_of_the_ratio() -> None:
    assert outcome("tg_tps>=0.95 of baseline", 8.0, 8.0, 8.0, base=(8.1, 8.1, 8.1)) == "met"
    assert outcome("tg_tps>=0.95 of baseline", 7.0, 7.1, 7.0, base=(8.1, 8.0, 8.0)) == "failed"


def test_memory_size_and_scores_are_judged_too() -> None:
    assert outcome("peak_memory<=900MB", peak_memory=950_000_000) == "failed"
    assert outcome("bytes<=900MB", bytes=850_000_000) == "met"
    assert outcome("exact>=0.9") == "unsure"
    assert outcome("exact>=0.95") == "failed"


def test_what_was_not_measured_is_not_met() -> None:
    assert outcome("ttft_ms<=5") == "unknown"
    assert outcome("schema>=0.5") == "unknown"
    assert outcome("peak_memory<=1 of baseline", base=(8.0,), peak_memory=5) == "unknown"


def test_the_sentence_says_figure_interval_and_outcome() -> None:
    found = check_demand(parse_demand("tg_tps>=8"), record(7.5, 7.6, 7.4))
    assert found.sentence == "tg_tps>=8: 7.5 [7.4, 7.6]: not met."
