"""What is to be timed, and the record of what was: samples, medians, the machine's state, and whether it counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from pillm.errors import DataError
from pillm.jsonl import parse_json
from pillm.performance.medians import Median, median
from pillm.performance.preflight import Conditions
from pillm.performance.sensors import Reading
from pillm.performance.verdict import SPREAD
from pillm.records import JSONObject, Prompt

if TYPE_CHECKING:
    from collections.abc import Sequence

Basis: TypeAlias = Literal["measured", "predicted", "emulated"]
RECORD_VERSION = 2
_MOST = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchWork:
    """One thing to time: reading a prompt (pp) or writing (tg) so many tokens, behind `depth` tokens that stand already."""

    kind: Literal["pp", "tg"]
    tokens: int
    depth: int = 0
    threads: int | None = None

    @property
    def name(self) -> str:
        """Return what llama-bench calls it, with the threads where they are its own."""
        depth = f" @ d{self.depth}" if self.depth else ""
        return f"{self.kind}{self.tokens}{depth}" + (f" t{self.threads}" if self.threads else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchPlan:
    """What to time: `pp` prompt tokens, `tg` generated tokens, `repetitions` times; all the rest is left out unless asked."""

    pp: int = 512
    tg: int = 128
    repetitions: int = 5
    threads: int | None = None
    more_pp: tuple[int, ...] = ()
    """Further prompt lengths in tokens."""
    more_tg: tuple[int, ...] = ()
    depths: tuple[int, ...] = ()
    """Tokens that stand in the cache already when `pp` and `tg` are timed again."""
    thread_counts: tuple[int, ...] = ()
    """Numbers of threads with which `pp` and `tg` are timed again."""
    prefix: bool = False
    """Whether the first token behind a saved prompt of `pp` tokens is timed too."""
    loads: int = 0
    """How often the model is opened anew, cold (from the disk) where its pages can be dropped, and warm."""
    sustained: float = 0.0
    """Seconds of writing without a pause."""
    prompts: tuple[Prompt, ...] = ()
    """Rows to answer: the time to the first token and between tokens, free and held to a schema."""
    texts: tuple[str, ...] = ()
    """Texts to embed."""
    max_spread: float = SPREAD
    """The spread of prefill (0..1) beyond which the record is void; of decode five times that."""
    strict: bool = False
    """Whether a machine that is not fit to be timed is refused."""
    cool: float = 0.0
    """Seconds to wait at most, before anything is timed, until the machine is cool."""

    def wide(self) -> Self:
        """Return the plan with every length, depth and load of the house's protocol."""
        more_pp = tuple(size for size in (32, 128, 512) if size != self.pp)
        more_tg = tuple(size for size in (32, 128) if size != self.tg)
        return replace(self, more_pp=more_pp, more_tg=more_tg, depths=self.depths or (512, 2048), prefix=True, loads=3)

    def clipped(self, context: int | None) -> Self:
        """Return the plan with prompt and answer clipped to the tokens that a model can see; None: unknown."""
        limit = context or self.pp + self.tg
        tg = max(1, min(self.tg, limit // 2))
        return replace(self, tg=tg, pp=max(1, min(self.pp, limit - tg)))

    def works(self) -> Iterator[BenchWork]:
        """Yield what is to be timed in one round, the two headline figures first."""
        both: list[tuple[Literal["pp", "tg"], int]] = [("pp", self.pp), ("tg", self.tg)]
        pairs = [(kind, size) for kind, size in both if size]
        yield from (BenchWork(kind=kind, tokens=size) for kind, size in pairs)
        yield from (BenchWork(kind="pp", tokens=size) for size in self.more_pp)
        yield from (BenchWork(kind="tg", tokens=size) for size in self.more_tg)
        for threads in self.thread_counts:
            yield from (BenchWork(kind=kind, tokens=size, threads=threads) for kind, size in pairs)
        for depth in (depth for depth in self.depths if depth):
            yield from (BenchWork(kind=kind, tokens=size, depth=depth) for kind, size in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """How fast one piece of work was, in tokens per second: the median, its 95 % interval and every sample."""

    name: str
    kind: Literal["pp", "tg"]
    tokens: int
    depth: int = 0
    threads: int | None = None
    speed: Median

    @classmethod
    def of(cls, work: BenchWork, samples: Sequence[float]) -> Self:
        """Return the point of some samples in tokens per second."""
        about = {"kind": work.kind, "tokens": work.tokens, "depth": work.depth, "threads": work.threads}
        return cls(name=work.name, speed=median(samples), **about)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the planner foretold for this file on this device, and why it came otherwise."""

    device: str
    memory: int | None = None
    """Bytes that the model takes there."""
    pp: int | None = None
    """Prompt tokens of the foretold prefill; it is compared with no other."""
    tg: int | None = None
    pp_threads: int | None = None
    """Threads that prefill was foretold for."""
    tg_threads: int | None = None
    pp_tps: float | None = None
    tg_tps: float | None = None
    tg_ratio: float | None = None
    """What was measured, as a share of it; None where something else was measured."""
    pp_ratio: float | None = None
    elsewhere: str | None = None
    """What the machine is, where it is another than was foretold for."""
    sentence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """How fast a model file is on a device; prefill and decode apart, in tokens per second."""

    model: str
    device: str
    basis: Basis
    pp_tps: float
    tg_tps: float
    pp: int = 512
    tg: int = 128
    """0, and `tg_tps` too, of an encoder: it writes nothing, and its prefill is how fast it embeds."""
    threads: int | None = None
    repetitions: int = 1
    load_ms: float | None = None
    """What the program that runs the model took to load it, once; `times` has what opening it anew takes, start included."""
    ttft_ms: float | None = None
    peak_memory: int | None = None
    samples: dict[str, list[float]] = field(default_factory=dict)
    details: JSONObject = field(default_factory=dict)
    at: str | None = None
    version: int = RECORD_VERSION
    sha256: str | None = None
    """Of the model file."""
    bytes: int | None = None
    runner: str | None = None
    build: str | None = None
    """Which version of what program ran it, such as llama.cpp's commit."""
    repack: bool | None = None
    """Whether weights were arranged anew for the processor when they were loaded; None: not told."""
    points: tuple[Point, ...] = ()
    times: dict[str, Median] = field(default_factory=dict)
    """Milliseconds by name, such as `ttft_prefix_ms`, `inter_token_p95_ms`, `embed_ms`; `load_cold_ms` and `load_warm_ms` are
    from opening the model, the start of what runs it included, to its first token."""
    memory: dict[str, int] = field(default_factory=dict)
    """Bytes by kind (`peak`, `pss`, `anonymous`, `file`), and `major_faults`."""
    energy: dict[str, float] = field(default_factory=dict)
    """Joules per token and watts, where there is a sensor."""
    conditions: Conditions | None = None
    readings: tuple[Reading, ...] = ()
    void: tuple[str, ...] = ()
    """Why it is not compared with another; empty where it counts."""
    disturbed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What the machine did to the parts after the headline (`prefix`, `answers`, `embeddings`, `sustained`): these make
    nothing void, for a long run is there to show heat."""
    not_measured: dict[str, str] = field(default_factory=dict)
    """What was asked for and could not be timed, and why."""
    expected: Expected | None = None

    def __str__(self) -> str:
        written = f", tg{self.tg} {self.tg_tps:.1f} t/s" if self.tg else ", an encoder"
        speeds = f"pp{self.pp} {self.pp_tps:.1f} t/s{written}"
        return f"{self.model} on {self.device} ({self.basis}): {speeds}"

    @property
    def board(self) -> str | None:
        """Return what the machine calls itself; None where it was not asked."""
        return self.conditions.model if self.conditions else None

    def speeds(self, name: str) -> tuple[float, ...]:
        """Return the samples of `pp_tps`, `tg_tps` or of a point by its name; the figure alone where none were kept."""
        for one in self.points:
            if one.name == name:
                return one.speed.samples
        if kept := self.samples.get(name):
            return tuple(kept)
        value = float(getattr(self, name)) if name in ("pp_tps", "tg_tps") else 0.0
        return (value,) if value else ()

    @property
    def measured(self) -> bool:
        """Return whether there are speeds: of reading, and of writing where the model writes."""
        return self.pp_tps > 0 and (self.tg_tps > 0 or not self.tg)


def read_benchmark(text: str | bytes, where: str) -> Benchmark:
    """Return a record from its JSON; raise DataError that names the place for anything else."""
    from pydantic import TypeAdapter, ValidationError

    try:
        _check_numbers(parse_json(text if isinstance(text, str) else text.decode("utf-8")))
        record = TypeAdapter(Benchmark).validate_json(text, strict=True)
    except ValidationError as error:
        wrong = error.errors()[0]
        reason = ": ".join([*map(str, wrong["loc"]), wrong["msg"]])
        raise DataError(f"{where} is not a benchmark record ({reason}). Give one that `pillm bench --out` wrote.") from error
    except ValueError as error:
        raise DataError(f"{where} is not a benchmark record ({error}). Give one that `pillm bench --out` wrote.") from error
    if record.version > RECORD_VERSION:
        raise DataError(f"{where} is a record of version {record.version}; this pillm reads up to {RECORD_VERSION}. Update it.")
    if not record.measured or not all(speed > 0 for speed in _speeds(record)):
        raise DataError(f"{where} holds no speed to compare with. Give a record that `pillm bench --out` wrote.")
    return record


def _check_numbers(value: Any) -> None:
    """Raise ValueError for an integer that is no count; what is not finite was refused when it was parsed."""
    if isinstance(value, int) and abs(value) > _MOST:
        raise ValueError(f"{str(value)[:20]}... is too large a number")
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_numbers(one)


def _speeds(record: Benchmark) -> Iterator[float]:
    """Yield every speed of a record that something is divided by."""
    for name in ("pp_tps", "tg_tps"):
        yield from record.samples.get(name, ())
    for point in record.points:
        yield from (point.speed.value, *point.speed.samples)
