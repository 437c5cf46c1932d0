"""A labelling that is stopped or killed keeps what was answered, and the same command goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SLOW = """
import sys, time
from typing import ClassVar
import pillm
class Slow(pillm.Teacher):
    '''Takes its time.'''
    name: ClassVar[str] = "slow"
    def answer(self, requests):
        for request in requests:
            with open(sys.argv[2], "a") as file: file.write(request.key + "\\n")
            time.sleep(float(sys.argv[4]))
            yield request, pillm.Answer("yes")
prompts = pillm.read_prompts(sys.argv[1])
try:
    print(pillm.label(prompts, Slow(), sys.argv[3]).counts)
except pillm.Interrupted as stop:
    print(stop); sys.exit(130)
"""


def _run_slow(tmp_path: Path, pause: float = 0.05) -> subprocess.Popen[str]:
    rows = "".join(json.dumps({"id": f"r{i}", "user": f"question {i}"}) + "\n" for i in range(30))
    (tmp_path / "prompts.jsonl").write_text(rows)
    arguments = [str(tmp_path / name) for name in ("prompts.jsonl", "asked", "out")] + [str(pause)]
    return subprocess.Popen([sys.executable, "-c", SLOW, *arguments], stdout=subprocess.PIPE, text=True)


def _asked(tmp_path: Path) -> list[str]:
    return (tmp_path / "asked").read_text().split() if (tmp_path / "asked").is_file() else []


def _wait_for_calls(tmp_path: Path, count: int) -> None:
    deadline = time.monotonic() + 30
    while len(_asked(tmp_path)) < count and time.monotonic() < deadline:
        time.sleep(0.01)


def _stop_after(tmp_path: Path, process: subprocess.Popen[str], number: int) -> str:
    _wait_for_calls(tmp_path, 5)
    process.send_signal(number)
    return process.communicate(timeout=30)[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_clean_stop_stores_what_is_in_flight_and_buys_nothing_twice(tmp_path: Path, number: int) -> None:
    process = _run_slow(tmp_path)
    said = _stop_after(tmp_path, process, number)
    assert process.returncode == 130
    assert "resumes" in said
    assert "30 answered" in _run_slow(tmp_path).communicate(timeout=30)[0]
    assert len(_asked(tmp_path)) == len(set(_asked(tmp_path))) == 30


def test_a_killed_run_buys_at_most_the_calls_in_flight_twice(tmp_path: Path) -> None:
    process = _run_slow(tmp_path)
    _stop_after(tmp_path, process, signal.SIGKILL)
    assert process.returncode == -9
    assert "30 answered" in _run_slow(tmp_path).communicate(timeout=30)[0]
    assert len(set(_asked(tmp_path))) == 30
    assert len(_asked(tmp_path)) <= 31


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    process = _run_slow(tmp_path, pause=20)
    _wait_for_calls(tmp_path, 1)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == -signal.SIGTERM
