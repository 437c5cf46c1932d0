"""What is timed on a board, what its sensors say meanwhile, and that nothing is left there."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pillm_llamacpp.boards.pi4 import Pi4Runner
from pillm_llamacpp_boardbenching import write_bench
from pillm_llamacpp_boardtools import program, script, wrapped

import pillm
from pillm.testing import LoopbackBoard, missing_for_board

ROOT = Path(__file__).parents[3]
LACKING = missing_for_board()
pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING)
PLAN = pillm.BenchPlan(pp=16, tg=8, repetitions=3)
ROW = pillm.Prompt(id="a", messages=({"role": "user", "content": "hello"},), schema={"const": "oui"})
VCGENCMD = """case "$1" in
get_throttled)
  if [ -e "${0%/*}/$HOT_AFTER.ran" ]; then echo throttled=0x60006; else echo throttled=0x0; fi ;;
pmic_read_adc) echo '  VDD_CORE_A current(7)=2.50000000A'; echo '  VDD_CORE_V volt(15)=0.80000000V' ;;
version) echo 'version 6947 (release)' ;;
*) exit 1 ;;
esac"""
"""What a Raspberry Pi was recorded to say; it is held back once the program HOT_AFTER has run."""


@pytest.fixture
def model() -> pillm.ModelFile:
    return pillm.ModelFile.of(ROOT / "rpi4" / "selftest" / "tiny.gguf", "Q4_K_M")


@pytest.fixture
def pi(tmp_path: Path) -> Iterator[LoopbackBoard]:
    """Return a board with a llama-bench and the sensors of a Raspberry Pi, without a llama-server."""
    with LoopbackBoard(tmp_path / "pi") as board:
        write_bench(board.home / "bin" / "llama-bench")
        script(board.home / "bin" / "vcgencmd", VCGENCMD)
        variables(board)
        yield board


def variables(pi: LoopbackBoard, **more: str) -> None:
    pi.environment(**{"PATH": f"{pi.home}/bin:/usr/bin:/bin", "HOT_AFTER": "nothing", **more})


def runner(pi: LoopbackBoard, **options: object) -> Pi4Runner:
    return Pi4Runner(**{"host": pi.host, "ssh_config": pi.ssh_config, "threads": 1, "max_tokens": 12, **options})


def left(pi: LoopbackBoard, within: float = 8.0) -> list[int]:
    until = time.monotonic() + within
    while pi.processes() and time.monotonic() < until:
        time.sleep(0.1)
    return pi.processes()


def test_lengths_depths_and_threads_are_timed_and_what_cannot_be_is_said(pi: LoopbackBoard, model: pillm.ModelFile) -> None:
    plan = pillm.BenchPlan(pp=16, tg=8, repetitions=2, threads=3, more_pp=(4,), depths=(8, 2000), thread_counts=(2,),
                           prefix=True, loads=1, prompts=(ROW,), texts=("one",))  # fmt: skip
    found = pillm.bench(model, runner(pi), plan=plan)
    names = ["pp16", "tg8", "pp4", "pp16 t2", "tg8 t2", "pp16 @ d8", "tg8 @ d8"]
    assert [one.name for one in found.points] == names
    assert all(len(one.speed.samples) == 2 for one in found.points)
    assert found.threads == 3
    assert found.details["timed_by"] == "llama-bench b4589, 2 in a row; answers by llama-server"
    assert "not enough memory for the context" in found.not_measured["pp16 @ d2000"]
    served = ("load_ms", "peak_memory", "prefix", "prompts", "texts", "load_cold_ms", "load_warm_ms")
    assert {name: "no llama-server" in found.not_measured[name] for name in served} == dict.fromkeys(served, True)
    assert left(pi) == []


def test_sensors_of_the_board_are_read_meanwhile_and_one_that_was_held_back_makes_it_void(
    pi: LoopbackBoard, model: pillm.ModelFile
) -> None:
    variables(pi, BENCH_SECONDS="0.6", HOT_AFTER="llama-bench")
    found = pillm.bench(model, runner(pi), plan=PLAN)
    assert found.conditions is not None
    assert (found.conditions.machine, found.conditions.firmware) == ("board", "version 6947 (release)")
    assert len(found.readings) >= 3
    assert found.void == ("the throttle bits changed from 0x0 to 0x60006: frequency capped, throttled",)
    assert (found.build, found.repack) == ("llama.cpp abc", False)
    assert found.conditions.machine_id is None or len(found.conditions.machine_id) == 16
    assert found.tg_tps == pytest.approx(9.5)
    assert {round(one.power_w or 0, 3) for one in found.readings} == {2.0}
    assert found.energy["idle_w"] == 2.0
    per_second = [line for line in pi.commands if "vcgencmd" in line]
    assert per_second == []  # they came through the one shell that stayed open


def test_an_old_bench_without_depths_says_so(pi: LoopbackBoard, model: pillm.ModelFile) -> None:
    path = pi.home / "bin" / "llama-bench"
    path.write_text(path.read_text().replace("-d, --n-depth <n>", "-x"))
    with runner(pi).open(model) as session:
        assert isinstance(session, pillm.Timer)
        with pytest.raises(pillm.BackendError, match=r"llama\.cpp b4589\) has no --n-depth"):
            session.repeat(pillm.BenchWork(kind="pp", tokens=4, depth=8), 1)


@pytest.mark.full
def test_a_connection_that_breaks_ends_the_bench_there(pi: LoopbackBoard, model: pillm.ModelFile) -> None:
    variables(pi, BENCH_MODE="slow")
    timer = threading.Timer(2.0, pi.unplug)
    timer.start()
    with pytest.raises(pillm.Unavailable):
        pillm.bench(model, runner(pi), plan=PLAN)
    timer.join()
    assert left(pi) == []


@pytest.mark.full
def test_an_interrupt_ends_the_bench_there(pi: LoopbackBoard, model: pillm.ModelFile, tmp_path: Path) -> None:
    variables(pi, BENCH_MODE="slow")
    argv = [sys.executable, "-m", "pillm", "bench", str(model.path), "--runner", "pi4", "-o", "host=board"]
    argv += ["-o", f"ssh_config={pi.ssh_config}", "--history", str(tmp_path / "h.jsonl")]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        until = time.monotonic() + 60
        while not any("llama-bench -m" in line for line in pi.commands) and time.monotonic() < until:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert left(pi) == []
    assert '"interrupted"' in (tmp_path / "h.jsonl").read_text().splitlines()[-1]


@pytest.mark.full
def test_everything_that_runner_local_times_is_timed_there(
    pi: LoopbackBoard, model: pillm.ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("llama-server", "llama-bench"):
        wrapped(program(name), pi.home / "bin")
    plan = pillm.BenchPlan(pp=64, tg=8, repetitions=3, depths=(32,), prefix=True, loads=1, prompts=(ROW,), texts=("one", "two"),
                           sustained=1.0)  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="b") as scratch:
        variables(pi, TMPDIR=scratch)
        found = pillm.bench(model, runner(pi, context=512), plan=plan)
        assert left(pi) == []
        assert list(Path(scratch).iterdir()) == []
    here = pillm.bench(model, pillm.runner("local", context=512), plan=plan)
    assert found.not_measured == {}
    # the pace of two steps in one event is told evenly, so only what is timed is compared
    assert set(found.times) == set(here.times) - {"inter_token_ms", "inter_token_p95_ms"}
    assert {one.name for one in found.points} == {one.name for one in here.points}
    assert len(found.times["inter_token_free_ms"].samples) == 11
    assert 0 < (found.peak_memory or 0) < pillm.memory_to_serve(model, context=512)
    assert found.load_ms is not None
    assert found.details["context"] == 512
