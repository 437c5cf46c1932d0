"""`pillm plan` on this machine: the memory that it predicts against what the worker took, and how soon it answers."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pillm_llamacpp.measuring.timefiles import LARGE, SMALL, Shape, write_file

import pillm
from tests.benchmarks.harness import Result, alternating, seconds_of
from tests.benchmarks.planning.rows import MODELS
from tests.benchmarks.running.sides import repacks

FILES: tuple[tuple[Shape, str], ...] = (
    (SMALL, "Q4_0"),
    (LARGE, "Q8_0"),
    (LARGE, "F16"),
    (replace(SMALL, layers=8, kv_heads=8, vocabulary=65536), "Q8_0"),
    (replace(SMALL, layers=8, kv_heads=8, vocabulary=32768, tied=False), "F16"),
    (replace(LARGE, layers=24, kv_heads=16), "Q4_0"),
)
PROMPT, ANSWER = 496, 16
MOST = 0.05
SOON = 0.5


def run(quick: bool) -> Iterator[Result]:
    """Yield the error of memory, then the time of a plan from a hub's config.json."""
    with tempfile.TemporaryDirectory() as folder:
        found = [memory(Path(folder) / f"{number}.gguf", *one) for number, one in enumerate(FILES)]
        config = Path(folder) / "config.json"
        config.write_text(json.dumps(MODELS["Qwen3-0.6B"]), "utf-8")
        yield _memory(found)
        yield _start(config, 3 if quick else 10)


def memory(path: Path, shape: Shape, type_: str) -> tuple[int, int]:
    """Return the predicted and the measured peak of bytes of the worker of runner `local` with a file of random weights."""
    model = pillm.ModelFile.of(write_file(path, shape, type_), type_)
    profile = pillm.device("generic-x86")
    device = profile if repacks() else profile.without_repacking()
    predicted = pillm.plan(model, device, context=PROMPT + ANSWER).memory
    with pillm.runner("local").open(model) as session:
        measured = session.bench(pillm.BenchPlan(pp=PROMPT, tg=ANSWER, repetitions=1))
    return sum(size for name, size in predicted.items() if name not in ("available", "reserve")), measured.peak_memory or 0


def _memory(found: list[tuple[int, int]]) -> Result:
    errors = [abs(predicted / measured - 1) for predicted, measured in found]
    return Result(
        benchmark="plan-memory",
        pillm=round(max(errors), 4),
        peer=MOST,
        unit="of the measured peak",
        goal=1.0,
        better="lower",
        peer_is="the 5 % that the worst of six files may err",
        limit="what the allocator and Python keep beside",
        details={"predicted, measured": found},
        versions={"llama-cpp-python": importlib.metadata.version("llama-cpp-python")},
    )


def _start(config: Path, times: int) -> Result:
    pillm_ = [str(Path(sys.executable).parent / "pillm"), "plan", str(config), "--device", "pi4-4gb", "--json"]
    shown = json.loads(subprocess.run(pillm_, capture_output=True, text=True, check=True).stdout)["plans"]
    if not shown[0]["tg_tps"]:
        raise AssertionError("the plan knows no speed")
    peer = [sys.executable, "-c", "import click, pydantic, yaml"]
    medians = alternating({"pillm": lambda: seconds_of(pillm_), "peer": lambda: seconds_of(peer)}, times)
    return Result(
        benchmark="plan-start",
        pillm=round(medians["pillm"], 4),
        peer=round(medians["peer"], 4),
        unit="s",
        goal=round(SOON / medians["peer"], 3),
        better="lower",
        peer_is='python -c "import click, pydantic, yaml"',
        limit=f"starting Python and the libraries of the core; {SOON} s were promised",
    )
