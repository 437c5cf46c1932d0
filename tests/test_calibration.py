"""Fitting a device from timings: what was put in comes out, and what contradicts itself is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.artifacts import DeviceFacts
from pillm.devices import device
from pillm.devices.calibrated import calibrated_text
from pillm.devices.calibration import LONG, SHORT, Timing, check_agreement, fits_of, least_squares, strays
from pillm.devices.planner import plan_shape
from pillm.devices.profile import DeviceProfile
from pillm.devices.shapes import ModelShape, from_config
from pillm.devices.speed import decode_speed, load_of, prefill_seconds, prefill_speed
from pillm.errors import BackendError, ConfigError
from tests.benchmarks.planning.rows import config

SMALL = from_config(config("llama", 512, 1536, 16, (8, 2, 64), 4096, tie_word_embeddings=True), "small").quantised("Q4_0")
LARGE = from_config(config("llama", 1024, 3072, 20, (16, 4, 64), 4096, tie_word_embeddings=True), "large").quantised("Q8_0")
MINUTE = from_config(config("llama", 256, 512, 4, (4, 2, 64), 2048, tie_word_embeddings=True), "minute").quantised("Q4_0")
MINUTE = MINUTE.with_types({one.name: "Q4_0" for one in MINUTE.streamed})
TINY = from_config(config("llama", 256, 768, 6, (4, 2, 64), 4096, tie_word_embeddings=True), "tiny").quantised("Q4_0")
MIDDLE = replace(LARGE.with_types({one.name: "Q4_0" for one in LARGE.streamed}), quant="Q4_0")
TINY = TINY.with_types({one.name: "Q4_0" for one in TINY.streamed})
SMALL = SMALL.with_types({one.name: "Q4_0" for one in SMALL.streamed})
FACTS = DeviceFacts(model="a board", architecture="aarch64", cores=4, max_ghz=2.0, ram_mib=4000)
BOARD = replace(device("pi4-4gb"), ghz=2.0, decode_factor=0.0, compute_bound=frozenset())


def timed(shape: ModelShape, profile: DeviceProfile) -> Timing:
    """Time a shape on a board that behaves as its profile says."""
    short, long = (tokens / (prefill_seconds(load_of(shape), profile, tokens) or 1) for tokens in (SHORT, LONG))
    return Timing(shape=shape, short_tps=short, long_tps=long, tg_tps=decode_speed(shape, profile) or 0.0, threads=4)


def text_of(timings: Sequence[Timing], facts: DeviceFacts = FACTS, **more: Any) -> str:
    """Return the profile that timings make."""
    return calibrated_text("generic-arm64", facts, fits_of(timings, facts.max_ghz or 1.0), day="2026-11-29", **more)


def profile_of(text: str, folder: Path) -> DeviceProfile:
    """Read a written profile back."""
    path = folder / "mine.yaml"
    path.write_text(text)
    return device(path)


@settings(deadline=None)
@given(rate=st.floats(1.0, 200.0), overhead=st.floats(0.0, 1.0))
def test_a_board_that_behaves_as_the_model_says_is_found_again(
    tmp_path_factory: pytest.TempPathFactory, rate: float, overhead: float
) -> None:
    board = replace(BOARD, bandwidth_gbps=rate, layer_ms=overhead)
    text = text_of([timed(one, board) for one in (SMALL, MIDDLE, LARGE)])
    found = profile_of(text, tmp_path_factory.mktemp("calibrated"))
    assert found.bandwidth_gbps == pytest.approx(rate, rel=0.02)
    assert found.layer_ms == pytest.approx(overhead, rel=0.02, abs=0.002)
    assert found.cycles["Q8_0"] == pytest.approx(board.cycles["Q8_0"], rel=0.02)
    assert found.attention_cycles == pytest.approx(board.attention_cycles, rel=0.05)
    other = LARGE.quantised("Q4_0")
    assert decode_speed(other, found) == pytest.approx(decode_speed(other, board), rel=0.02)
    assert prefill_speed(other, found) == pytest.approx(prefill_speed(other, board), rel=0.05)


@pytest.mark.parametrize("cost", [0.5, 1.0, 2.0])
def test_a_type_that_waits_for_the_cores_is_found_out(tmp_path: Path, cost: float) -> None:
    board = replace(BOARD, bandwidth_gbps=20.0, decode_cycles=MappingProxyType({"Q4_0": cost}))
    timings = [timed(one, board) for one in (SMALL, MIDDLE, LARGE)]
    found = profile_of(text_of(timings), tmp_path)
    assert found.bandwidth_gbps == pytest.approx(20.0, rel=0.06)
    assert found.decode_cycles["Q4_0"] == pytest.approx(cost, rel=0.06)
    assert "Q8_0" not in found.decode_cycles, "it waits for memory"
    assert found.facts["decode_cycles.Q6_K"].trust == 1
    for shape in (SMALL, MIDDLE, LARGE):
        assert decode_speed(shape, found) == pytest.approx(decode_speed(shape, board), rel=0.04)


def test_the_profile_says_when_it_was_measured_and_what_is_a_guess(tmp_path: Path) -> None:
    timings = [timed(one, BOARD) for one in (SMALL, MIDDLE, LARGE)]
    found = profile_of(text_of(timings), tmp_path)
    fact = found.facts["bandwidth_gbps"]
    assert (fact.trust, "measured here, 2026-11-29, 4 threads" in fact.source) == (3, True)
    assert found.facts["cycles.Q6_K"].trust == 1
    assert (found.title, found.ram_mib, found.ghz) == ("a board, calibrated", 4000, 2.0)
    assert found.fitted(SMALL.file_bytes)
    assert not found.fitted(50 * LARGE.file_bytes)


def test_without_a_clock_cycles_are_nanoseconds(tmp_path: Path) -> None:
    timings = [timed(one, BOARD) for one in (SMALL, MIDDLE, LARGE)]
    text = text_of(timings, replace(FACTS, max_ghz=None))
    found = profile_of(text, tmp_path)
    assert "cycles are nanoseconds" in found.facts["ghz"].source
    assert prefill_speed(LARGE, found) == pytest.approx(prefill_speed(LARGE, BOARD), rel=0.03)


def test_one_file_gives_a_read_rate_and_no_overhead(tmp_path: Path) -> None:
    text = text_of([timed(LARGE, BOARD)])
    found = profile_of(text, tmp_path)
    assert found.layer_ms == 0.0
    assert decode_speed(LARGE, found) == pytest.approx(decode_speed(LARGE, BOARD), rel=0.01)


def test_small_files_that_a_runner_gives_fewer_threads_have_speeds_of_their_own(tmp_path: Path) -> None:
    one_core = replace(BOARD, cores=1, threads=1, threads_batch=1, layer_ms=0.05, token_ms=0.2)
    few = [replace(timed(one, one_core), threads=1) for one in (MINUTE, TINY, SMALL)]
    whole = [timed(one, BOARD) for one in (SMALL, MIDDLE, LARGE)]
    found = profile_of(text_of([*whole, *few]), tmp_path)
    assert found.small_files is not None
    assert SMALL.file_bytes < found.small_files_mb * 1e6 < MIDDLE.file_bytes
    assert (found.threads, found.small_files.threads, found.small_files.ram_mib) == (4, 1, 4000)
    assert found.small_files.facts["layer_ms"].source.startswith(
        "measured here, 2026-11-29, 1 threads: files of 2 and 3 and 29 MB"
    )
    assert found.token_ms == 0.0
    assert found.small_files.token_ms == pytest.approx(0.2, rel=0.1)
    for shape, board in ((MINUTE, one_core), (TINY, one_core), (SMALL, one_core), (MIDDLE, BOARD), (LARGE, BOARD)):
        assert decode_speed(shape, found) == pytest.approx(decode_speed(shape, board), rel=0.03)
        assert prefill_speed(shape, found) == pytest.approx(prefill_speed(shape, board), rel=0.05)
    assert plan_shape(TINY, found).basis_note == ""
    assert "1 threads" in plan_shape(TINY, found).source
    assert "4 threads" in plan_shape(LARGE, found).source


@pytest.mark.parametrize(
    ("small", "words"),
    [
        ("[1]", "it holds no table"),
        ("{reserve: 1}", "unknown key 'reserve'"),
        ("{threads: {value: 1, source: s, trust: 3}}", "below_mb must be written as"),
    ],
)
def test_what_is_said_of_small_files_is_checked_like_the_rest(tmp_path: Path, small: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        profile_of(f"extends: pi4-4gb\nsmall_files: {small}\n", tmp_path)


def test_a_timing_that_does_not_go_with_the_others_is_named_and_the_faster_of_two_is_kept() -> None:
    good = [timed(one, BOARD) for one in (MINUTE, TINY, SMALL, MIDDLE, LARGE)]
    assert strays(good, 2.0) == []
    slow = replace(good[1], tg_tps=0.7 * good[1].tg_tps, long_tps=0.5 * good[1].long_tps)
    assert 1 in strays([good[0], slow, *good[2:]], 2.0)
    assert slow.better(good[1]) == good[1].better(slow) == good[1]
    assert strays([replace(good[0], tg_tps=0.9 * good[1].tg_tps), *good[1:]], 2.0) == [0], "slower than a larger file"


def test_how_far_the_fit_misses_its_timings_is_written_where_there_are_timings_to_spare(tmp_path: Path) -> None:
    shapes = (MINUTE, TINY, SMALL, MIDDLE, LARGE)
    good = [timed(one, BOARD) for one in shapes]
    exact = profile_of(text_of(good), tmp_path)
    assert exact.decode_error == pytest.approx(0.01, abs=0.02)
    uneven = [replace(one, tg_tps=one.tg_tps * factor) for one, factor in zip(good, (1.0, 0.88, 1.06, 1.0, 1.0), strict=True)]
    (fit,) = fits_of(uneven, 2.0)
    worst = max(abs(fit.misses(one)[0]) for one in uneven)
    found = profile_of(text_of(uneven), tmp_path)
    assert found.decode_error == pytest.approx(fit.profile.decode_error, rel=1e-4)
    assert (found.decode_error or 0) >= 2 * worst > 0.02, "five timings, at least three figures"
    assert "the fit missed of its own timings" in found.facts["decode_error"].source
    low, high = plan_shape(MIDDLE, found).tg_interval or (0, 0)
    assert low < good[3].tg_tps < high
    bare = profile_of(text_of([good[3], good[4]]), tmp_path)
    assert bare.decode_error is None, "a figure for every timing: nothing is known"


def test_timings_that_do_not_go_together_are_refused() -> None:
    good = [timed(one, BOARD) for one in (MINUTE, TINY, SMALL, MIDDLE, LARGE)]
    check_agreement(fits_of(good, 2.0))
    broken = [*good[:4], replace(good[4], long_tps=good[4].long_tps / 5)]
    with pytest.raises(BackendError, match=r"the timings do not go together: all of them foretell .* times the speed"):
        check_agreement(fits_of(broken, 2.0))


def test_timings_that_contradict_each_other_are_refused() -> None:
    slow, fast = timed(SMALL, BOARD), replace(timed(MIDDLE, BOARD), tg_tps=10_000.0)
    with pytest.raises(BackendError, match="contradict each other"):
        text_of([slow, fast])


def test_files_that_are_too_much_alike_tell_nothing() -> None:
    assert least_squares([[1.0, 2.0], [1.0, 1.0]]) == pytest.approx([1.0, 0.0], abs=1e-9)
    with pytest.raises(BackendError, match="too much alike"):
        least_squares([[1.0, 2.0], [2.0, 4.0]])


def test_a_disturbed_timing_costs_precision_and_no_calibration(tmp_path: Path) -> None:
    good = [timed(one, BOARD) for one in (SMALL, MIDDLE, LARGE)]
    slow = replace(good[0], tg_tps=1.1 * good[1].tg_tps)  # hardly faster than a file five times its size
    found = profile_of(text_of([slow, *good[1:]]), tmp_path)
    assert found.bandwidth_gbps
    assert decode_speed(LARGE, found) == pytest.approx(decode_speed(LARGE, BOARD), rel=0.3)
