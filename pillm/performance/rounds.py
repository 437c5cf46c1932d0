"""Time everything that a plan asks for, in turns and not in blocks, so that a machine that slows down slows down all."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pillm.errors import BackendError, ConfigError, DataError, MissingDependency
from pillm.performance.benchmark import Benchmark, BenchPlan, BenchWork, Point
from pillm.performance.medians import Median, median, percentile
from pillm.performance.timer import Host, TimedReply, Timer, Timing, speeds
from pillm.performance.verdict import HEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pillm.performance.sampler import Sampler, Span
    from pillm.records import Prompt

_SUSTAINED_TOKENS = 64
_MINUTE = 60.0
_KEPT = 200
_FEW = 8
"""Tokens of which nobody can say how they come."""
_NEW = 16
"""Tokens of a question behind a saved prefix."""
_CANNOT = (BackendError, ConfigError, DataError, MissingDependency)
"""What says that something cannot be timed here; all else ends the work."""


@dataclass(slots=True)
class Rounds:
    """What was timed so far; it stands as it is when the work is interrupted."""

    timer: Timer
    plan: BenchPlan
    told: Callable[[str], None] = lambda _: None
    """Hears the name of each piece of work that is done."""
    sampler: Sampler | None = None
    """Reads the sensors meanwhile, and is told what is being done."""
    phase: str = ""
    """What blocks are called instead of `pp` and `tg`: a model is loaded in each, and nobody tells when it computes."""
    taken: dict[BenchWork, list[Timing]] = field(default_factory=dict)
    times: dict[str, list[float]] = field(default_factory=dict)
    lasting: list[Timing] = field(default_factory=list)
    not_measured: dict[str, str] = field(default_factory=dict)
    host: Host | None = None

    def run(self) -> None:
        """Do it all; raise BackendError where not even the two headline figures can be timed."""
        host = self.timer.host()
        self.plan = self.plan.clipped(host.context) if host.writes else self._reading(host)
        works = list(self.plan.works())
        headline = works[: 2 if self.plan.tg else 1]
        with self._part(HEADLINE):
            if self.timer.in_blocks:
                for work in works:
                    self._take(work, self.plan.repetitions, needed=work in headline)
                self.host = self._used(host)
            else:
                self._turns(works, headline)
        self._prefix()
        self._answers()
        self._embeddings()
        self._sustain()
        self._reloads()

    def _turns(self, works: Sequence[BenchWork], headline: Sequence[BenchWork]) -> None:
        self._time(BenchWork(kind="pp", tokens=self.plan.pp))
        if self.plan.tg:
            self._time(BenchWork(kind="tg", tokens=1))
        for number in range(self.plan.repetitions):
            for work in works:
                if work.name not in self.not_measured:
                    self._take(work, 1, needed=work in headline)
                if number == 0 and work == headline[-1]:
                    # what a longer cache takes is not what this model takes
                    self.host = self.timer.host()

    def _used(self, before: Host) -> Host:
        """Return the host after the work; what was timed is not lost where it cannot tell more than before."""
        try:
            return self.timer.host()
        except _CANNOT as error:
            self.not_measured |= dict.fromkeys(("load_ms", "peak_memory"), str(error))
            return before

    def _part(self, name: str) -> AbstractContextManager[None]:
        return self.sampler.part(name) if self.sampler else nullcontext()

    def _during(self, phase: str) -> AbstractContextManager[None]:
        return self.sampler.during(phase) if self.sampler else nullcontext()

    def _reading(self, host: Host) -> BenchPlan:
        """Return what of the plan an encoder can do: it reads texts of several lengths, and embeds."""
        plan = self.plan
        pp = min(plan.pp, host.context or plan.pp)
        asked = {
            "depths": plan.depths, "prefix": plan.prefix, "sustained": plan.sustained, "prompts": plan.prompts, "tg": plan.tg,
        }  # fmt: skip
        self.not_measured |= {name: "the model writes nothing: it embeds" for name, wanted in asked.items() if wanted}
        return replace(plan, pp=pp, tg=0, more_tg=(), depths=(), prefix=False, sustained=0.0, prompts=())

    def _take(self, work: BenchWork, repetitions: int, *, needed: bool = False) -> None:
        try:
            with self._during((self.timer.in_blocks and self.phase) or work.kind):
                self.taken.setdefault(work, []).extend(self.timer.repeat(self._threaded(work), repetitions))
        except _CANNOT as error:
            if needed:
                raise
            self.not_measured[work.name] = str(error)
            return
        for _ in range(repetitions):
            self.told(work.name)

    def _time(self, work: BenchWork, phase: str = "") -> Timing:
        with self._during(phase or work.kind):
            return self.timer.time(self._threaded(work))

    def _threaded(self, work: BenchWork) -> BenchWork:
        return work if work.threads else replace(work, threads=self.plan.threads)

    def _note(self, name: str, values: Iterable[float]) -> None:
        self.times.setdefault(name, []).extend(values)

    def _prefix(self) -> None:
        if not self.plan.prefix:
            return
        work = BenchWork(kind="pp", tokens=_NEW, depth=self.plan.pp)
        try:
            with self._part("prefix"):
                found = [self._time(work, "prefix") for _ in range(self.plan.repetitions)]
        except _CANNOT as error:
            self.not_measured["prefix"] = str(error)
            return
        # the first time the prefix is read, not put back
        kept = [one.restore_ms + one.first_ms for one in found if one.restore_ms is not None and one.first_ms is not None]
        if kept:
            self._note("ttft_prefix_ms", kept)
        else:
            self.not_measured["prefix"] = "this runner saves no prefix"
        self.told("prefix")

    def _answers(self) -> None:
        if not self.plan.prompts:
            return
        try:
            with self._part("answers"), self._during("answers"):
                for prompt in self.plan.prompts:
                    self._answer(prompt)
        except _CANNOT as error:
            self.not_measured["prompts"] = str(error)

    def _answer(self, prompt: Prompt) -> None:
        self._note("answer_ttft_ms", [self.timer.reply(prompt, constrained=False, fresh=True).first_ms])
        self._paces("free", self.timer.reply(prompt, constrained=False, fresh=False))
        self._note("answer_ttft_cached_ms", [self.timer.reply(prompt, constrained=False, fresh=False).first_ms])
        if prompt.schema is not None:
            held = self.timer.reply(prompt, constrained=True, fresh=False)
            # where the grammar is made ready: the first token pays for it, not the time between tokens
            self._note("answer_ttft_constrained_ms", [held.first_ms])
            self._paces("constrained", held)
        self.told(prompt.id)

    def _paces(self, how: str, reply: TimedReply) -> None:
        self._note(f"inter_token_{how}_ms", reply.gaps_ms)

    def _embeddings(self) -> None:
        if not self.plan.texts:
            return
        try:
            with self._part("embeddings"), self._during("embeddings"):
                for _ in self.timer.embed(self.plan.texts[:1]):  # what it takes to begin is no latency
                    pass
                for text in self.plan.texts:
                    began = time.perf_counter()
                    for _ in self.timer.embed([text]):
                        self._note("embed_ms", [(time.perf_counter() - began) * 1000])
                    self.told("embedding")
        except _CANNOT as error:
            self.not_measured["texts"] = str(error)

    def _reloads(self) -> None:
        """Time opening the model anew, where that was left to the timer: last, for it may end what answered before."""
        for name, cold in (("load_cold_ms", True), ("load_warm_ms", False)) if self.plan.loads else ():
            try:
                for _ in range(self.plan.loads):
                    self._note(name, [self.timer.reload(cold=cold)])
                    self.told(name)
            except _CANNOT as error:
                self.not_measured[name] = str(error)

    def _sustain(self) -> None:
        if self.plan.sustained <= 0:
            return
        began = time.monotonic()
        work = BenchWork(kind="tg", tokens=min(_SUSTAINED_TOKENS, self.plan.tg))
        try:
            with self._part("sustained"):
                while time.monotonic() - began < self.plan.sustained:
                    self.lasting.append(self._time(work, "sustained"))
                    self.told(f"sustained {time.monotonic() - began:.0f} s")
        except _CANNOT as error:
            self.not_measured["sustained"] = str(error)

    def spans(self) -> Iterator[tuple[Span, int]]:
        """Yield when tokens were written, and how many."""
        for work, timings in self.taken.items():
            if work.kind == "tg" and not work.depth and work.threads is None:
                yield from (((one.begin, one.begin + one.seconds), one.tokens) for one in timings)
        yield from (((one.begin, one.begin + one.seconds), one.tokens) for one in self.lasting)

    def samples(self) -> dict[str, list[float]]:
        """Return the samples of each piece of work in tokens per second, whatever is there by now."""
        return {work.name: speeds(timings) for work, timings in self.taken.items() if speeds(timings)}

    def record(self) -> Benchmark:
        """Return the record of what was timed."""
        host = self.host or self.timer.host()
        works = list(self.plan.works())
        prefill, decode = self.taken[works[0]], self.taken[works[1]] if self.plan.tg else []
        first = [one.first_ms for one in prefill if one.first_ms is not None]
        points = tuple(Point.of(work, found) for work, one in self.taken.items() if (found := speeds(one)))
        samples = {"pp_tps": speeds(prefill)} | ({"tg_tps": speeds(decode)} if decode else {})
        return Benchmark(
            model=host.model, device=host.device, basis="measured",
            pp_tps=median(speeds(prefill)).value, tg_tps=median(speeds(decode)).value if decode else 0.0,
            pp=self.plan.pp, tg=self.plan.tg, threads=self.plan.threads or host.threads or None,
            repetitions=self.plan.repetitions, load_ms=host.load_ms, ttft_ms=median(first).value if first else None,
            peak_memory=host.memory.get("peak"), samples=samples, details=host.details, points=points, build=host.build,
            repack=host.repack, times=self._medians(first, decode), memory=host.memory, not_measured=self.not_measured,
        )  # fmt: skip

    def _medians(self, first: list[float], decode: Sequence[Timing]) -> dict[str, Median]:
        """Return the medians of all times in milliseconds; of steps between tokens the 95th percentile too."""
        steps, lasted = [step for one in decode for step in one.steps_ms], 1000 * sum(one.seconds for one in decode)
        found = {"ttft_ms": first, "inter_token_ms": steps, **self.times} | dict(self._minutes())
        made = {}
        for name, values in found.items():
            if name.startswith("inter_token") and in_bursts(values, lasted if values is steps else 0.0):
                self.not_measured[name] = "tokens arrive in bursts, so the time between two says nothing of the model"
                continue
            if values:
                made[name] = _shortened(median(values))
            if values and name.startswith("inter_token"):
                slow = percentile(values, 0.95)
                made[name.replace("_ms", "_p95_ms")] = Median(value=slow, low=slow, high=slow)
        return made

    def _minutes(self) -> Iterator[tuple[str, list[float]]]:
        """Yield the milliseconds per token of the first and the last minute of sustained writing."""
        if not self.lasting:
            return
        began, ended = self.lasting[0].begin, self.lasting[-1].begin + self.lasting[-1].seconds
        window = min(_MINUTE, (ended - began) / 2)
        parts = {
            "sustained_first_ms": [one for one in self.lasting if one.begin < began + window],
            "sustained_last_ms": [one for one in self.lasting if one.begin + one.seconds > ended - window],
        }
        for name, timings in parts.items():
            yield name, [one.seconds * 1000 / one.tokens for one in timings]


def in_bursts(steps: Sequence[float], lasted: float = 0.0) -> bool:
    """Return whether tokens came several at once: a quarter of all within a tenth of the mean time between two.

    `lasted` are the milliseconds that writing them took by a better clock than that of their arrival, where there is one.
    """
    if len(steps) < _FEW:
        return False
    mean = max(sum(steps), lasted) / len(steps)
    return sum(step < mean / 10 for step in steps) * 4 >= len(steps)


def _shortened(found: Median) -> Median:
    """Return a median without its samples where these are too many to keep."""
    return found if len(found.samples) <= _KEPT else replace(found, samples=())
