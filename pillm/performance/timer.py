"""What a session offers that can be timed piece by piece: each piece of work once, and what it takes to run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pillm.errors import BackendError
from pillm.performance.benchmark import Benchmark, BenchPlan, BenchWork
from pillm.records import JSONObject

if TYPE_CHECKING:
    from pillm.machines import Machine
    from pillm.records import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long one piece of work took."""

    tokens: int
    seconds: float
    begin: float = 0.0
    """When it began, in seconds of `time.monotonic` on the machine that asks; it ended `seconds` later."""
    steps_ms: tuple[float, ...] = ()
    """Milliseconds of each written token."""
    first_ms: float | None = None
    """From the prompt's first token to the choice of the answer's first one."""
    restore_ms: float | None = None
    """What it took to put back the tokens that stand already from their saved state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What runs a model, and what that takes at most so far."""

    model: str
    device: str
    threads: int
    """0: not told."""
    context: int | None = None
    """Tokens that the model can see; None: unknown."""
    writes: bool = True
    """Whether the model writes answers; an encoder only reads, and its prefill is how fast it embeds."""
    load_ms: float | None = None
    build: str | None = None
    """Which version of what program runs it."""
    repack: bool | None = None
    """Whether weights are arranged anew for this processor when they are loaded; None: not told."""
    memory: dict[str, int] = field(default_factory=dict)
    """Bytes by kind: `peak`, `pss`, `anonymous`, `file`; and `major_faults`."""
    details: JSONObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedReply:
    """How one answer arrived: milliseconds to its first token, and between any two."""

    first_ms: float
    gaps_ms: tuple[float, ...]
    cached: int = 0
    """Tokens of the prompt that stood in the cache already."""


class Hosted:
    """A session that knows the machine that its model runs on."""

    def machine(self) -> Machine | None:
        """Return the machine that the model runs on, for its sensors; None where they cannot be read."""
        return None


class Timer(Hosted, ABC):
    """A session that can be timed piece by piece; mixed into one, it also gives it `bench`."""

    @abstractmethod
    def host(self) -> Host:
        """Return what runs the model and what it took so far."""

    @abstractmethod
    def time(self, work: BenchWork) -> Timing:
        """Do one piece of work and say how long it took; raise BackendError where it does not fit this model."""

    @property
    def in_blocks(self) -> bool:
        """Return whether a piece of work is timed several times in a row by `repeat`, since beginning it anew costs much."""
        return False

    def repeat(self, work: BenchWork, repetitions: int) -> Sequence[Timing]:
        """Do one piece of work several times, warmed up, and say how long each took; raises what `time` raises."""
        return [self.time(work) for _ in range(repetitions)]

    def reload(self, *, cold: bool) -> float:
        """Open the model anew and return the milliseconds until its first token; `cold`: from the disk, not from memory.

        Raises BackendError where this runner cannot.
        """
        raise BackendError(f"{type(self).__name__} does not open the model anew.")

    def reply(self, prompt: Prompt, *, constrained: bool, fresh: bool) -> TimedReply:
        """Answer a row and say when its tokens came; `fresh` forgets first what the cache holds.

        Raises BackendError where this runner cannot.
        """
        raise BackendError(f"{type(self).__name__} does not say when its tokens come.")

    def embed(self, texts: Iterable[str]) -> Iterator[tuple[float, ...]]:
        """Yield one embedding per text; raise BackendError where this runner cannot."""
        raise BackendError(f"{type(self).__name__} cannot embed. Choose another runner.")

    def bench(self, plan: BenchPlan) -> Benchmark:
        """Time prefill and decode apart, with whatever else the plan asks for; interleaved, after a warm-up."""
        from pillm.performance.rounds import Rounds

        rounds = Rounds(self, plan)
        rounds.run()
        return rounds.record()


def speeds(timings: Sequence[Timing]) -> list[float]:
    """Return tokens per second."""
    return [one.tokens / one.seconds for one in timings if one.seconds > 0]
