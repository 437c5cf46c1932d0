"""The kernel ends what goes past its limits; each is tried in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from pillm.intake.limits import on_this_machine

LIMITED = "import sys; from pillm.intake.limits import limit_process; limit_process(seconds=0.3, megabytes=200)\n"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", LIMITED + code], capture_output=True, text=True, check=False)


def test_what_computes_too_long_is_ended_within_one_call_of_c() -> None:
    began = time.perf_counter()
    assert run("9 ** (9 ** 9)").returncode == -signal.SIGPROF
    assert time.perf_counter() - began < 10


def test_what_only_waits_is_not_ended() -> None:
    assert run("import time; time.sleep(0.6); print('done')").stdout == "done\n"


def test_memory_has_an_end() -> None:
    assert "MemoryError" in run("bytearray(300 << 20)").stderr
    assert run("bytearray(50 << 20)").returncode == 0


@pytest.mark.parametrize("code", ["open('/tmp/pillm-limited', 'w').write('x' * 100_000)"])
def test_nothing_is_written(code: str) -> None:
    assert "File too large" in run(code).stderr


def test_a_new_look_has_its_time_anew() -> None:
    spin = "import time\ndef spin():\n    end = time.process_time() + 0.2\n    while time.process_time() < end: pass\n"
    code = "from pillm.intake.limits import allow\n" + spin + "for _ in range(3): allow(0.3); spin()\nprint('done')"
    assert run(code).stdout == "done\n"


def test_a_slow_machine_gets_more_time_and_a_fast_one_no_less(monkeypatch: pytest.MonkeyPatch) -> None:
    for took, given in ((0.02, 2.0), (0.1, 2.0), (0.5, 10.0)):
        monkeypatch.setattr("time.process_time", lambda took=took: took)
        assert on_this_machine(2.0) == given
