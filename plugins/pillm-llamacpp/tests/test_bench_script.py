"""bench/run.sh: what it times on a recorded board becomes a record of pillm's own, void by the rules of pillm's own."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pillm_llamacpp_boardtools import ROOT, RPI4, Board, script, stand_in

import pillm
from pillm.performance.benchmark import read_benchmark
from pillm.performance.comparing import check_comparable, compare
from pillm.performance.medians import median, spread
from pillm.performance.sensors import Reading
from pillm.performance.verdict import DECODE, IDLE, SPREAD, void_reasons

AWK = RPI4 / "bench" / "record.awk"
FACTS = {
    "model": "m.gguf",
    "sha256": "0" * 64,
    "bytes": 9,
    "at": "2026-01-01T00:00:00Z",
    "pp": 8,
    "tg": 2,
    "threads": 1,
    "repetitions": 3,
}


@pytest.fixture
def model(board: Board) -> Path:
    path = board.home / "it's a $(touch evil) model.gguf"
    shutil.copyfile(RPI4 / "selftest" / "tiny.gguf", path)
    sensors = {
        "proc/uptime": "77.5 200.1", "proc/loadavg": "0.10 0.2 0.3 1/99 5", "proc/vmstat": "pswpin 3\npswpout 4\n",
        "sys/class/thermal/thermal_zone0/temp": "48312", "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1800000",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "1500000",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance",
        "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1800000", "proc/sys/kernel/random/boot_id": "b-1",
    }  # fmt: skip
    for name, text in sensors.items():
        (board.root / name).parent.mkdir(parents=True, exist_ok=True)
        (board.root / name).write_text(text + "\n")
    return path


def row(kind: str, tokens: int, samples: list[float], threads: int = 1) -> str:
    """Return a line as llama-bench prints it, in the parts that count."""
    sizes = {
        "n_threads": threads,
        "n_prompt": tokens if kind == "pp" else 0,
        "n_gen": tokens if kind == "tg" else 0,
        "n_depth": 0,
    }
    return json.dumps(
        {
            "build_commit": "0c1e57098",
            "cpu_info": "a CPU, of {1}",
            "model_type": "llama ?B Q4_K",
            **sizes,
            "samples_ts": samples,
        }
    )


def rows(*lines: str) -> str:
    return "\n".join(f"echo '{line}'" for line in lines)


def valid(record: dict[str, object]) -> dict[str, object]:
    schema = json.loads((ROOT / "schemas" / "benchmark.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(record)
    return record


def test_a_timing_becomes_a_record_of_pillms_own(board: Board, model: Path) -> None:
    board.has("llama-bench", "llama-completion")
    script(board.bin / "vcgencmd", "case $1 in version) echo Aug 2025; echo 'version \"x\"' ;; *) echo throttled=0x0 ;; esac")
    words = ("--pp", "8,4", "--tg", 2, "--repeat", 3, "--threads", "1,2")
    path = board.home / board.run("bench/run.sh", *words, model).stdout.strip()
    record = valid(json.loads(path.read_text()))
    found = read_benchmark(path.read_text(), "it")
    assert [one.name for one in found.points] == ["pp8", "tg2", "pp4", "pp8 t2", "pp4 t2", "tg2 t2"]
    assert found.points[0].speed.value == found.pp_tps == median(found.speeds("pp8")).value
    assert len(found.speeds("tg_tps")) == found.repetitions == 3
    assert (found.model, found.device, found.board, found.threads) == (model.name, *("Raspberry Pi 4 Model B Rev 1.4",) * 2, 1)
    assert (found.sha256, found.bytes, found.basis) == (pillm.sha256_file(model), model.stat().st_size, "measured")
    assert found.load_ms
    assert found.load_ms > 0
    assert found.conditions
    assert found.conditions.findings == ()
    assert (found.conditions.governor, found.conditions.load, found.conditions.swapped) == ("performance", 0.1, 7)
    assert (found.conditions.boot_id, found.conditions.firmware) == ("b-1", 'Aug 2025 version "x" ')
    assert found.conditions.before == found.readings[0]
    assert found.readings[0] == Reading(time=77.5, temperature_c=48.312, clocks_mhz=(1800.0, 1500.0), throttled=0, phase=IDLE)
    assert len(found.readings) > 2
    assert found.peak_memory
    assert found.peak_memory > found.bytes
    assert record["details"]
    assert found.details["build_commit"] == "0c1e57098"
    assert "never written over" in board.run("bench/run.sh", "--out", path, model, expect=2).stderr
    assert [one for one in board.listing() if ".part" in one] == []


def test_two_records_of_a_board_are_kept_and_compared(board: Board, model: Path) -> None:
    script(board.bin / "vcgencmd", "echo throttled=0x0")
    for number, speed in enumerate((10.0, 20.0)):
        lines = (row("pp", 8, [speed, speed, speed]), row("tg", 2, [speed / 2] * 3))
        stand_in(board.programs / "bin" / "llama-bench", rows(*lines))
        words = ("--pp", 8, "--tg", 2, "--threads", 1, "--out", f"r{number}.json")
        assert "void" not in board.run("bench/run.sh", *words, model).stderr
    first, second = (read_benchmark((board.home / f"r{number}.json").read_text(), "r") for number in (0, 1))
    check_comparable(first, second, ("first", "second"))
    assert {one.figure: one.ratio.value for one in compare(first, second).changes}["tg_tps"] == 2.0
    assert (first.void, second.void) == ((), ())
    assert first.not_measured["load_ms"] == "llama-completion told no load time"


@pytest.mark.parametrize(
    ("before", "after", "void"),
    [
        ("0x0", "0x0", ""),
        ("0x50000", "0x50000", ""),
        ("0x0", "0x50000", "the throttle bits changed from 0x0 to 0x50000: under-voltage, throttled"),
        ("0x50005", "0x50005", "held back throughout: under-voltage, throttled"),
    ],
)
def test_a_board_that_throttled_voids_its_figures_and_keeps_them(
    board: Board, model: Path, before: str, after: str, void: str
) -> None:
    lines = rows(row("pp", 8, [5.0, 5.0]), row("tg", 2, [3.0, 3.0]))
    stand_in(board.programs / "bin" / "llama-bench", f"touch '{board.root}/done'; {lines}")
    script(board.bin / "vcgencmd", f"[ -e '{board.root}/done' ] && echo throttled={after} || echo throttled={before}")
    done = board.run("bench/run.sh", "--out", "record.json", "--pp", 8, "--tg", 2, "--threads", 1, model)
    found = read_benchmark((board.home / "record.json").read_text(), "it")
    assert found.void == ((void,) if void else ())
    assert void in done.stderr
    assert ("count as void" in done.stderr) is bool(void)
    assert (found.readings[0].throttled, found.readings[-1].throttled) == (int(before, 16), int(after, 16))
    assert found.tg_tps == 3.0


def test_pages_that_were_swapped_void_the_figures_and_a_warm_busy_board_is_told(board: Board, model: Path) -> None:
    (board.root / "proc" / "loadavg").write_text("2.50 0 0 1/9 9\n")
    (board.root / "sys/class/thermal/thermal_zone0/temp").write_text("71000\n")
    lines = rows(row("pp", 8, [5.0, 5.0]), row("tg", 2, [3.0, 3.0]))
    stand_in(board.programs / "bin" / "llama-bench", f"echo 'pswpin 20' >'{board.root}/proc/vmstat'; {lines}")
    board.run("bench/run.sh", "--out", "record.json", "--pp", 8, "--tg", 2, "--threads", 1, model)
    found = read_benchmark((board.home / "record.json").read_text(), "it")
    assert found.void == ("13 pages were swapped meanwhile",)
    assert found.conditions
    assert found.conditions.findings == (
        "71 °C before it began: let it cool below 55", "a load of 2.50: other programs run; 0.3 is quiet",
    )  # fmt: skip
    assert found.conditions.missing["throttling"] == "no vcgencmd, so no throttle bits"


def test_what_cannot_be_read_is_no_record(board: Board, model: Path) -> None:
    for text in ("echo nothing", rows(row("pp", 8, [5.0])), "true"):
        stand_in(board.programs / "bin" / "llama-bench", text)
        assert (
            "no record was written" in board.run("bench/run.sh", "--pp", 8, "--tg", 2, "--threads", 1, model, expect=1).stderr
        )
    assert [path for path in board.listing() if "bench-" in path] == []


@settings(max_examples=40, deadline=None)
@given(
    bits=st.lists(st.none() | st.integers(0, 0xFFFFF), min_size=2, max_size=6),
    clocks=st.lists(st.lists(st.integers(600_000, 1_800_000), max_size=3), min_size=6, max_size=6),
    prefill=st.lists(st.floats(0.5, 1e5), min_size=1, max_size=6),
    decode=st.lists(st.floats(7.0, 9.0), min_size=1, max_size=6),
)
def test_a_record_is_void_for_the_reasons_of_pillm(
    bits: list[int | None], clocks: list[list[int]], prefill: list[float], decode: list[float]
) -> None:
    assume(math.isfinite(sum(prefill)) and abs((spread(prefill) or 0) - SPREAD) > 1e-6)
    assume(abs((spread(decode) or 0) - SPREAD * DECODE) > 1e-6)
    told = [("reading", at, "", "" if one is None else one, " ".join(map(str, clocks[at]))) for at, one in enumerate(bits)]
    lines = ["\t".join(map(str, line)) for line in [*FACTS.items(), *told]] + [row("pp", 8, prefill), row("tg", 2, decode)]
    done = subprocess.run(["awk", "-f", str(AWK)], input="\n".join(lines), capture_output=True, text=True, check=True)
    found = read_benchmark(done.stdout, "it")
    readings = tuple(
        Reading(
            time=at,
            phase=IDLE if at in (0, len(bits) - 1) else None,
            throttled=one,
            clocks_mhz=tuple(clock / 1000 for clock in clocks[at]),
        )
        for at, one in enumerate(bits)
    )
    assert found.readings == readings
    assert found.void == void_reasons(readings, prefill, decode)
