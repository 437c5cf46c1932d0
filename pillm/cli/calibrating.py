"""Time this machine with a runner's own files, and write what was found as a device's profile."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillm
from pillm.backends import Runner
from pillm.devices import matching
from pillm.devices.calibrated import calibrated_text
from pillm.devices.calibration import LONG, SHORT, Fit, Timing, check_agreement, fits_of, strays
from pillm.devices.repacking import TILES, repacked_by
from pillm.devices.shapes import shape_of
from pillm.errors import ConfigError
from pillm.files import write_text
from pillm.performance.preflight import BUSY

if TYPE_CHECKING:
    from pillm.cli.terminal import Terminal

REPETITIONS = 3
TG = 32
SPREAD = 0.1
"""Of prefill: that of a file of a few megabytes takes some milliseconds, and is never as even as a long one."""
ATTEMPTS = 2
"""How often a file is timed whose timing is void, and how often those are timed again that do not go with the others."""
QUICK, QUICK_PROMPTS, QUICK_TG = 48_000_000, (128, 512), 128
"""Files of fewer bytes are timed as plans speak of them: what the attention takes is much of their time, and they are quick."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A profile as YAML, the fits that it was made of, and what disturbed the timings."""

    text: str
    fits: tuple[Fit, ...]
    disturbed: tuple[str, ...]

    def __str__(self) -> str:
        told = [f"with {fit.profile.threads} threads {_missed(fit)}" for fit in self.fits]
        return f"How far the fit misses its own timings: {'; '.join(told)}."


def calibrate(out: Path, runner: str, options: dict[str, Any], terminal: Terminal) -> Path:
    """Time the machine that a runner's models run on and write its profile to a YAML file.

    Raises ConfigError where the runner has no files to time with or no profile fits the machine, BackendError where the
    timings do not go together, and what timing raises.
    """
    if out.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"a device's profile is a YAML file, and {out} is not called one. Call it {out.stem}.yaml.")
    with tempfile.TemporaryDirectory(prefix="pillm-calibrate-") as folder:
        built = pillm.runner(runner, **options)
        with terminal.progress("bench") as progress:
            found = calibrated(built, Path(folder), progress)
    write_text(out, found.text)
    terminal.say(str(found))
    for one in found.disturbed:
        terminal.say(f"Disturbed: {one}.")
    if found.disturbed:
        terminal.say("Its speeds are trusted 1 of 3 for it. Close other programs, wait a minute and calibrate again.")
    return out


def calibrated(runner: Runner, folder: Path, progress: pillm.Progress) -> Calibration:
    """Time the machine that a runner's models run on, with its files in `folder`.

    Raises what `calibrate` raises.
    """
    facts = runner.probe()
    name = facts.profile or matching(facts)
    if name is None:
        raise ConfigError(f"no device profile fits {facts.model or facts.architecture or 'this machine'} to build on.")
    ghz = facts.max_ghz or 1.0
    timed = _timings(runner, folder, progress)
    for _ in range(ATTEMPTS):
        for place in strays([one.timing for one in timed], ghz):
            timed[place] = timed[place].again()
    fits = fits_of([one.timing for one in timed], ghz)
    check_agreement(fits)
    disturbed = (*_busy(timed[0].load), *dict.fromkeys(said for one in timed for said in one.disturbed))
    text = calibrated_text(
        name, facts, fits, day=datetime.now(UTC).date().isoformat(), disturbed=disturbed,
        repacked=_repacked(timed[0].repack, facts.isa),
    )  # fmt: skip
    return Calibration(text=text, fits=tuple(fits), disturbed=disturbed)


class _Timed:
    """A file that is timed as a runner runs it, or with so many threads; again where that is wanted."""

    def __init__(self, file: pillm.ModelFile, runner: Runner, threads: int | None, progress: pillm.Progress) -> None:
        self._file, self._runner, self._threads, self._progress = file, runner, threads, progress
        self.disturbed: tuple[str, ...] = ()
        self.repack: bool | None = None
        self.load: float | None = None
        """Processes that wanted to run before it was timed at all."""
        self.timing = self._once()
        for _ in range(ATTEMPTS - 1):
            if self.disturbed:
                self.again()

    def again(self) -> _Timed:
        """Time it once more, and keep the faster of each figure."""
        before = self.disturbed
        self.timing = self.timing.better(self._once())
        self.disturbed = self.disturbed and before  # one timing that nothing disturbed is enough
        return self

    def _once(self) -> Timing:
        prompts, tokens = (QUICK_PROMPTS, QUICK_TG) if self._file.bytes < QUICK else ((SHORT, LONG), TG)
        found = []
        for prompt in prompts:
            plan = pillm.BenchPlan(pp=prompt, tg=tokens, repetitions=REPETITIONS, threads=self._threads, max_spread=SPREAD)
            found.append(pillm.bench(self._file, self._runner, plan=plan, progress=self._progress))
        self.disturbed = tuple(f"{self._file.label}: {said}" for one in found for said in one.void)
        self.repack = found[0].repack
        if self.load is None and found[0].conditions is not None:
            self.load = found[0].conditions.load
        return Timing(
            shape=shape_of(self._file),
            short_tps=found[0].pp_tps,
            long_tps=found[1].pp_tps,
            tg_tps=max(one.tg_tps for one in found),
            threads=found[0].threads or 1,
            prompts=prompts,
        )


def _timings(runner: Runner, folder: Path, progress: pillm.Progress) -> list[_Timed]:
    files = sorted(runner.speed_files(folder), key=lambda one: -one.bytes)
    if not files:
        raise ConfigError(f"runner {runner.name!r} has no files of its own to time a machine with. Use runner 'local'.")
    # each with the threads that the runner gives it; the largest gets all
    found = [_Timed(file, runner, None, progress) for file in files]
    most = found[0].timing.threads
    few = [file for file, one in zip(files, found, strict=True) if one.timing.threads < most]
    # the largest of those with fewer is timed with all too: only two sizes of a type show what a layer takes
    return [*found, *(_Timed(file, runner, most, progress) for file in few[:1])]


def _busy(load: float | None) -> list[str]:
    busy = load is not None and load >= BUSY
    return [f"a load of {load:.2f} before it began, and {BUSY} is quiet"] if busy else []


def _repacked(told: bool | None, isa: Collection[str]) -> frozenset[str] | None:
    """Return what is held a second time, as the runner told it, else as the processor's flags let expect; None: unknown."""
    if told is False:
        return frozenset()
    flags = set(isa) - {TILES} if told else set(isa)
    return repacked_by(flags) if flags else None


def _missed(fit: Fit) -> str:
    errors = {"decode": fit.profile.decode_error, "prefill": fit.profile.prefill_error}
    told = [f"{error:.0%} in {name}" for name, error in errors.items() if error]
    return f"at most {' and '.join(told)}" if told else "not known, as there are no more timings than figures"
