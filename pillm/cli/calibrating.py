"""Time this machine with a runner's own files, and write what was found as a device's profile."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillm
from pillm.backends import Runner
from pillm.devices import matching
from pillm.devices.calibration import LONG, SHORT, Timing, calibrated_text
from pillm.devices.shapes import shape_of
from pillm.errors import ConfigError
from pillm.files import write_text

if TYPE_CHECKING:
    from pillm.cli.terminal import Terminal

REPETITIONS = 3
TG = 32
QUICK, QUICK_PROMPTS, QUICK_TG = 48_000_000, (128, 512), 128
"""Files of fewer bytes are timed as plans speak of them: what the attention takes is much of their time, and they are quick."""


def calibrate(out: Path, runner: str, options: dict[str, Any], terminal: Terminal) -> Path:
    """Time the machine that a runner's models run on and write its profile to a YAML file.

    Raises ConfigError where the runner has no files to time with or no profile fits the machine, and what timing raises.
    """
    if out.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"a device's profile is a YAML file, and {out} is not called one. Call it {out.stem}.yaml.")
    with tempfile.TemporaryDirectory(prefix="pillm-calibrate-") as folder:
        built = pillm.runner(runner, **options)
        with terminal.progress("bench") as progress:
            text = profile_text(built, Path(folder), progress)
    write_text(out, text)
    return out


def profile_text(runner: Runner, folder: Path, progress: pillm.Progress) -> str:
    """Time the machine that a runner's models run on, with its files in `folder`, and return its profile as YAML.

    Raises what `calibrate` raises.
    """
    facts = runner.probe()
    name = facts.profile or matching(facts)
    if name is None:
        raise ConfigError(f"no device profile fits {facts.model or facts.architecture or 'this machine'} to build on.")
    timings = _timings(runner, folder, progress)
    return calibrated_text(name, facts, timings, day=datetime.now(UTC).date().isoformat())


def _timings(runner: Runner, folder: Path, progress: pillm.Progress) -> list[Timing]:
    files = sorted(runner.speed_files(folder), key=lambda one: -one.bytes)
    if not files:
        raise ConfigError(f"runner {runner.name!r} has no files of its own to time a machine with. Use runner 'local'.")
    # each with the threads that the runner gives it; the largest gets all
    found = [_timed(file, runner, None, progress) for file in files]
    few = [file for file, one in zip(files, found, strict=True) if one.threads < found[0].threads]
    # the largest of those with fewer is timed with all too: only two sizes of a type show what a layer takes
    return [*found, *(_timed(file, runner, found[0].threads, progress) for file in few[:1])]


def _timed(file: pillm.ModelFile, runner: Runner, threads: int | None, progress: pillm.Progress) -> Timing:
    speeds = []
    prompts, tokens = (QUICK_PROMPTS, QUICK_TG) if file.bytes < QUICK else ((SHORT, LONG), TG)
    for prompt in prompts:
        plan = pillm.BenchPlan(pp=prompt, tg=tokens, repetitions=REPETITIONS, threads=threads)
        speeds.append(pillm.bench(file, runner, plan=plan, progress=progress))
    return Timing(
        shape=shape_of(file),
        short_tps=speeds[0].pp_tps,
        long_tps=speeds[1].pp_tps,
        tg_tps=max(one.tg_tps for one in speeds),
        threads=speeds[0].threads or 1,
        prompts=prompts,
    )
