"""Gates on a measurement: understood, refused before anything is timed, judged by the interval."""

from __future__ import annotations

from typing import Any

import pytest

from pillm.artifacts import Benchmark, BenchPlan
from pillm.errors import ConfigError
from pillm.performance.demands import check_demand, check_figures, check_planned, parse_demand
from pillm.performance.figures import FIGURES
from pillm.performance.medians import Median, median
from pillm.records import Prompt


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


def test_what_is_unsure_passes_or_fails_as_was_asked() -> None:
    unsure = record(7.9, 8.2, 7.5)
    for asked, said in (("pass", "so it passes."), ("fail", "so it fails.")):
        found = check_demand(parse_demand("tg_tps>=8"), unsure, unsure=asked)  # type: ignore[arg-type]
        assert (found.outcome, found.sentence.endswith(said)) == ("unsure", True)


def test_loading_that_is_timed_once_takes_no_gate_and_the_two_that_do_are_told_apart() -> None:
    with pytest.raises(ConfigError, match=r"timed once\. A gate may be on load_cold_ms or load_warm_ms, another thing"):
        check_figures([parse_demand("load_ms<=1")], None, baseline=False)


ROWS = tuple(Prompt(id=str(n), messages=({"role": "user", "content": "a"},), schema={} if n else None) for n in range(4))


@pytest.mark.parametrize(
    ("text", "plan", "reason"),
    [
        ("tg_tps>=8", {"repetitions": 2}, "timed twice says nothing of chance, so it could never fail. Give --repetitions 3"),
        ("pp_tps>=8", {"repetitions": 1}, "timed once"),
        ("ttft_ms<=8", {"repetitions": 1}, "timed once"),
        ("load_warm_ms<=1s", {}, "load_warm_ms is timed with --wide alone"),
        ("ttft_prefix_ms<=9", {}, "--wide"),
        ("ttft_prefix_ms<=9", {"prefix": True, "repetitions": 3}, "timed twice.*--repetitions 4"),
        ("embed_ms<=9", {}, "--embed"),
        ("sustained_last_ms<=9", {}, "--sustained"),
        ("answer_ttft_ms<=9", {}, "--prompts"),
        ("answer_ttft_ms<=9", {"prompts": ROWS[:2]}, "timed twice.*Give 3 rows or more"),
        ("answer_ttft_constrained_ms<=9", {"prompts": ROWS[:1]}, "--prompts with rows that have a schema alone"),
    ],
)
def test_a_gate_that_could_never_fail_is_refused_before_anything_is_timed(text: str, plan: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        check_planned([parse_demand(text)], BenchPlan(**plan))


def test_gates_on_what_is_timed_often_enough_are_taken() -> None:
    plan = BenchPlan(prefix=True, repetitions=4, prompts=ROWS, texts=("a", "b", "c"), sustained=1.0, loads=3)
    check_planned([parse_demand(f"{name}<=1") for name in FIGURES], plan)
    check_planned([parse_demand("exact>=0.9"), parse_demand("bytes<=1MB")], BenchPlan(repetitions=1))


def test_percentiles_and_what_has_too_many_samples_to_keep_are_judged_by_their_interval() -> None:
    times = {
        "inter_token_ms": Median(value=5.0, low=4.9, high=5.1),
        "inter_token_p95_ms": Median(value=9.0, low=9.0, high=9.0),
    }
    assert [outcome(f"inter_token_ms<={most}", times=times) for most in (4, 5, 6)] == ["failed", "unsure", "met"]
    assert [outcome(f"inter_token_p95_ms<={most}", times=times) for most in (8, 10)] == ["failed", "met"]
    assert outcome("joules_per_token<=1.5", energy={"joules_per_token": 2.0}) == "failed"
    base = record(8.0, times={"inter_token_ms": Median(value=4.0, low=3.9, high=4.1)})
    found = check_demand(parse_demand("inter_token_ms<=1.1 of baseline"), record(8.0, times=times), baseline=base)
    assert (found.outcome, found.value) == ("failed", 1.25)


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


@pytest.mark.parametrize(
    ("text", "facts", "said"),
    [
        ("peak_memory<=900MB", {"peak_memory": 56_451_072}, "56.45 MB: met."),
        ("peak_memory<=0.5GiB", {"peak_memory": 2**30}, "1 GiB: not met."),
        ("bytes<=100000000", {"bytes": 1_300_000}, "1.30 MB: met."),
        ("bytes<=1GB", {"bytes": 2}, "2 B: met."),
        ("ttft_ms<=2s", {"times": {"ttft_ms": median((1500.0,) * 3)}}, "1.5 s: met."),
        ("ttft_ms<=2000", {"times": {"ttft_ms": median((1500.0,) * 3)}}, "1500 ms: met."),
        ("tg_tps>=8", {"samples": {"tg_tps": [123456.0] * 3}}, "123456: met."),
    ],
)
def test_a_figure_is_told_in_the_unit_of_its_gate(text: str, facts: dict[str, Any], said: str) -> None:
    one = Benchmark(**{"model": "m", "device": "d", "basis": "measured", "pp_tps": 1.0, "tg_tps": 1.0, **facts})
    assert check_demand(parse_demand(text), one).sentence == f"{text}: {said}"
