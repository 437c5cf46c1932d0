"""One measurement: the machine is looked at before anything is loaded, then the model is opened and timed, and judged."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pillm.artifacts import Benchmark, BenchPlan, Checkpoint, ModelFile
from pillm.backends import Runner, Session
from pillm.devices import DeviceProfile, mismatch
from pillm.devices.detection import probe_machine
from pillm.errors import BackendError, ConfigError, DataError, MissingDependency, Unavailable
from pillm.machines import LocalMachine
from pillm.performance import pagecache
from pillm.performance.benchmark import BenchWork, Expected
from pillm.performance.expectation import against
from pillm.performance.history import History
from pillm.performance.medians import Median, median
from pillm.performance.preflight import Conditions, cool_down, preflight
from pillm.performance.rounds import Rounds
from pillm.performance.sampler import UNTOLD, Sampler, joules
from pillm.performance.sensors import Sensors
from pillm.performance.timer import Hosted, Timer
from pillm.performance.verdict import HEADLINE, disturbances, void_reasons
from pillm.progress import Progress

if TYPE_CHECKING:
    from pillm.machines import Machine

_IDLE_SECONDS = 2.5
_NOT_BEGUN = (Unavailable, ConfigError, DataError, MissingDependency)
"""Errors of a runner that opens a model only when it is timed, by which it was not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """How a model is timed: what, where it is kept, and what was foretold."""

    plan: BenchPlan = field(default_factory=BenchPlan)
    history: History | None = None
    expected: Expected | None = None
    profile: DeviceProfile | None = None
    """The device that it was foretold for."""
    progress: Progress = field(default_factory=lambda: Progress("bench"))


@dataclass(frozen=True, slots=True)
class _Seen:
    """The machine, what it was like before anything was loaded, and its sensors."""

    machine: Machine
    sensors: Sensors
    conditions: Conditions
    elsewhere: str | None


class Measurement:
    """One measurement, and what there is of it so far."""

    def __init__(self, model: ModelFile | Checkpoint, runner: Runner, how: Measuring) -> None:
        """Note what is to be timed; nothing is opened."""
        self._model, self._runner, self._how = model, runner, how
        self._rounds: Rounds | None = None
        self._loads: dict[str, list[float]] = {}
        self._plan = how.plan
        """What is left for the session itself to time."""
        self._missing: dict[str, str] = {}
        self.timed = False
        """Whether it came to timing anything: a model was open, on a machine that would do."""

    def about(self) -> dict[str, Any]:
        """Return what is being timed, for the history."""
        plan = {name: value for name, value in asdict(self._how.plan).items() if name not in ("prompts", "texts")}
        sha256 = self._model.sha256 if isinstance(self._model, ModelFile) else None
        return {"model": self._model.label, "sha256": sha256, "runner": self._runner.name, "plan": plan}

    def partial(self) -> dict[str, list[float]]:
        """Return the samples that there are by now."""
        return {**self._loads, **(self._rounds.samples() if self._rounds else {})}

    def done(self) -> Benchmark:
        """Do it; the machine is looked at first wherever it is known before the model is open."""
        machine = self._machine()
        seen = self._look(machine) if machine is not None else None
        if isinstance(machine, LocalMachine):
            self._open_anew()
        with self._runner.open(self._model) as session:
            if seen is None and isinstance(session, Hosted) and (machine := session.machine()) is not None:
                seen = self._look(machine)
            if seen is None:
                self._missing["sensors"] = f"runner {self._runner.name!r} does not tell the machine it runs on"
                return self._judged(self._measured(session, None, ""), None, self._elsewhere(None))
            with Sampler(seen.sensors) as sampler:
                idle = self._idle(seen.sensors, sampler)
                # where the clock may change, a slow one says nothing of a runner that does not tell when it computes
                steady = seen.conditions.governor == "performance"
                record = self._measured(session, sampler, "timed" if steady else UNTOLD)
            readings = tuple(one for one in sampler.readings if not one.empty)
            record = replace(record, conditions=seen.conditions, readings=readings)
            if sampler.failed:
                self._missing["sensors"] = sampler.failed
            return self._judged(self._with_energy(record, idle), sampler, seen.elsewhere)

    def _machine(self) -> Machine | None:
        """Return the machine where it is known before the model is timed; a session is asked whether it is this computer."""
        machine = self._runner.runs_on()
        if machine is not None or not self._plan.loads:
            return machine
        with self._runner.open(self._model) as session:
            found = session.machine() if isinstance(session, Timer) else None
        return found if isinstance(found, LocalMachine) else None

    def _look(self, machine: Machine) -> _Seen:
        """Return what a machine is like, once it is cool where that was asked for; raise Unavailable where it will not do."""
        sensors, note = Sensors(machine), self._how.progress.note
        if self._how.plan.cool:
            cool_down(sensors, self._how.plan.cool, note)
        seen = preflight(machine, sensors, needed=self._needed())
        self._refuse_unfit(seen)
        elsewhere = self._elsewhere(machine)
        for finding in (*seen.findings, *([f"not what was foretold for: {elsewhere}"] if elsewhere else [])):
            note(finding)
        return _Seen(machine, sensors, seen, elsewhere)

    def _elsewhere(self, machine: Machine | None) -> str | None:
        """Return what the machine is where it is another than was foretold for; None where that cannot be found out."""
        if self._how.profile is None:
            return None
        try:
            facts = self._runner.probe() if machine is None else probe_machine(machine)
        except Unavailable:
            return None
        return mismatch(self._how.profile, facts)

    def _needed(self) -> int | None:
        expected = self._how.expected
        if expected is not None and expected.memory is not None:
            return expected.memory
        return self._model.bytes if isinstance(self._model, ModelFile) else None

    def _refuse_unfit(self, seen: Conditions) -> None:
        if self._how.plan.strict and seen.findings:
            raise Unavailable(
                f"{seen.machine} is not fit to be timed: {'; '.join(seen.findings)}. Nothing was timed; mend that and run "
                "the same command again, or leave --strict out."
            )

    def _open_anew(self) -> None:
        """Time how long it takes from opening the file to its first token, from the disk and from memory."""
        loads, self._plan = self._plan.loads, replace(self._plan, loads=0)
        for cold in (True, False):
            name = "load_cold_ms" if cold else "load_warm_ms"
            for _ in range(loads):
                if cold and not (isinstance(self._model, ModelFile) and pagecache.drop(self._model.path)):
                    self._missing[name] = "the file's pages could not be dropped from memory: it would be warm"
                    break
                began = time.perf_counter()
                with self._runner.open(self._model) as session:
                    if not isinstance(session, Timer):
                        self._plan = self._how.plan
                        return
                    session.time(BenchWork(kind="pp", tokens=1))
                    self.timed = True
                    self._loads.setdefault(name, []).append((time.perf_counter() - began) * 1000)

    def _measured(self, session: Session, sampler: Sampler | None, phase: str) -> Benchmark:
        """Return what the session measured; `phase` is what is being done by one that does not tell."""
        try:
            return self._pieces(session, sampler, phase) if isinstance(session, Timer) else self._whole(session, sampler, phase)
        except BaseException as error:
            self.timed |= bool(self.partial()) or not isinstance(error, _NOT_BEGUN)
            raise

    def _pieces(self, session: Timer, sampler: Sampler | None, phase: str) -> Benchmark:
        plan = self._plan
        pieces = len(list(plan.works())) * plan.repetitions
        steps = pieces + plan.prefix + len(plan.prompts) + len(plan.texts) + 2 * plan.loads
        # nobody knows how many pieces of work fit into the seconds of a sustained run
        self._how.progress.start(None if plan.sustained else steps, unit="timings")
        untold = phase if phase == UNTOLD else ""
        self._rounds = Rounds(
            session, plan, told=lambda _: self._how.progress.advance(), sampler=sampler, phase=untold
        )  # fmt: skip
        self._rounds.run()
        record = self._rounds.record()
        if (record.pp, record.tg) != (plan.pp, plan.tg) and record.tg:
            asked = f"pp{plan.pp} and tg{plan.tg} are more than it can see"
            self._how.progress.note(f"{asked}: pp{record.pp} and tg{record.tg} were timed")
        return record

    def _whole(self, session: Session, sampler: Sampler | None, phase: str) -> Benchmark:
        plan = self._plan
        with sampler.part(HEADLINE) if sampler else nullcontext(), sampler.during(phase) if sampler else nullcontext():
            record = session.bench(plan)
        asked = {"prefix": plan.prefix, "sustained": plan.sustained, "prompts": plan.prompts, "texts": plan.texts,
                 "load_cold_ms": plan.loads, "load_warm_ms": plan.loads}  # fmt: skip
        left = [work.name for work in list(plan.works())[2:]] + [name for name, wanted in asked.items() if wanted]
        done = {point.name for point in record.points}
        reason = f"runner {self._runner.name!r} does not time it"
        return replace(record, not_measured={name: reason for name in left if name not in done} | record.not_measured)

    def _judged(self, record: Benchmark, sampler: Sampler | None, elsewhere: str | None) -> Benchmark:
        """Return the record with what it is of, and the reasons why it may be void."""
        if not record.measured:
            speeds = f"{record.pp_tps} and {record.tg_tps} tokens/s"
            raise BackendError(
                f"runner {self._runner.name!r} measured {speeds} on {self._model.label}: that is no measurement."
            )
        readings = sampler.of(HEADLINE) if sampler else ()
        samples = (record.samples.get(name, ()) for name in ("pp_tps", "tg_tps"))
        void = void_reasons(readings, *samples, most=self._how.plan.max_spread)
        later = {name: disturbances(sampler.of(name)) for name in sampler.parts if name != HEADLINE} if sampler else {}
        file = self._model if isinstance(self._model, ModelFile) else None
        times: dict[str, Median] = {name: median(values) for name, values in self._loads.items()}
        record = replace(
            record,
            model=record.model or self._model.label,
            at=record.at or datetime.now(UTC).isoformat(timespec="seconds"),
            sha256=file.sha256 if file else None,
            bytes=file.bytes if file else None,
            runner=self._runner.name,
            build=record.build or _build(record),
            repack=_repack(record) if record.repack is None else record.repack,
            times=times | record.times,
            void=(*record.void, *void),
            disturbed=record.disturbed | {name: reasons for name, reasons in later.items() if reasons},
            not_measured=self._missing | record.not_measured,
        )
        expected = self._how.expected
        return replace(record, expected=against(record, replace(expected, elsewhere=elsewhere))) if expected else record

    def _idle(self, sensors: Sensors, sampler: Sampler) -> float | None:
        """Return the power in watts that the machine takes for nothing, over some seconds; None without a sensor."""
        if not sensors.has_power:
            return None
        ends = time.monotonic() + _IDLE_SECONDS
        while time.monotonic() < ends:
            sampler.take()
            time.sleep(_IDLE_SECONDS / 5)
        found = [one.power_w for one in sampler.readings if one.power_w is not None]
        return sum(found) / len(found) if found else None

    def _with_energy(self, record: Benchmark, idle: float | None) -> Benchmark:
        if idle is None or self._rounds is None:
            return record
        spans = list(self._rounds.spans())
        drawn, tokens = joules(record.readings, (span for span, _ in spans), idle), sum(count for _, count in spans)
        if drawn is None or not tokens:
            self._missing["energy"] = "the power was not read often enough"
            return replace(record, energy={"idle_w": round(idle, 4)})
        return replace(record, energy={"idle_w": round(idle, 4), "joules_per_token": round(drawn / tokens, 6)})


def _build(record: Benchmark) -> str | None:
    """Return the build that llama-bench or the like says of itself in its details."""
    commit = record.details.get("build_commit")
    return f"llama.cpp {commit}" if isinstance(commit, str) and commit else None


def _repack(record: Benchmark) -> bool | None:
    told = record.details.get("repack")
    return told if isinstance(told, bool) else None
