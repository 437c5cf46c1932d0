"""A machine that was recorded: what its files and commands said, one time after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import Field

from pillm.artifacts import BenchPlan, Checkpoint, ModelFile
from pillm.backends import Runner, Session
from pillm.errors import MissingDependency
from pillm.performance.benchmark import BenchWork
from pillm.performance.timer import Host, Timer, Timing
from pillm.records import Answer, Failure, Request

CPU = "/sys/devices/system/cpu"
FILES = {
    "/proc/loadavg": "0.05 0.10 0.09 1/123 999\n",
    "/proc/meminfo": "MemTotal:        3884256 kB\nMemFree:         2500000 kB\nMemAvailable:    3300000 kB\n",
    "/proc/vmstat": "nr_free_pages 625000\npswpin 12\npswpout 30\n",
    "/proc/uptime": "5120.31 20000.10\n",
    "/proc/sys/kernel/osrelease": "6.12.34+rpt-rpi-v8\n",
    "/proc/sys/kernel/random/boot_id": "3f0a77a1-4c0e-4d7f-9a8e-1f2b3c4d5e6f\n",
    "/proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "/proc/device-tree/serial-number": "10000000a1b2c3d4\0",
    "/etc/machine-id": "5f0c7d0e9a3b4c1d8e2f6a7b9c0d1e2f\n",
    "/sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "/sys/class/thermal/thermal_zone0/temp": "44300\n",
    f"{CPU}/cpu0/cpufreq/scaling_governor": "performance\n",
    f"{CPU}/cpu0/cpufreq/cpuinfo_max_freq": "1800000\n",
    f"{CPU}/cpu0/cpufreq/scaling_max_freq": "1800000\n",
    **{f"{CPU}/cpu{core}/cpufreq/scaling_cur_freq": "1800000\n" for core in range(4)},
}
VERSION = "2025/05/08 15:13:17\nCopyright (c) 2012 Broadcom\nversion 69471177aca6f1ea8cbcc4b6d2b5d5d5 (release)\n"
PMIC = (
    "     3V7_WL_SW_A current(0)=0.09271110A\n     VDD_CORE_A current(7)=1.50000000A\n"
    "     3V7_WL_SW_V volt(8)=3.70000000V\n     VDD_CORE_V volt(15)=0.80000000V\n     EXT5V_V volt(24)=5.15000000V\n"
)


@dataclass(slots=True)
class RecordedMachine:
    """Says what was recorded; a list is read one after the other, and its last one stays."""

    files: dict[str, str | list[str]] = field(default_factory=lambda: dict(FILES))
    commands: dict[str, str | list[str]] = field(
        default_factory=lambda: {"vcgencmd get_throttled": "throttled=0x0\n", "vcgencmd version": VERSION}
    )
    label: str = "the board"

    def read(self, path: str) -> str | None:
        return _next(self.files, path)

    def run(self, argv: Sequence[str], *, timeout: float = 60.0) -> str:
        said = _next(self.commands, " ".join(argv))
        if said is None:
            raise MissingDependency(f"the command {argv[0]} is not installed on {self.label}.")
        return said


def _next(found: Mapping[str, str | list[str]], name: str) -> str | None:
    said = found.get(name)
    if isinstance(said, list):
        return said.pop(0) if len(said) > 1 else said[0]
    return said


@dataclass(slots=True)
class Steady(Timer):
    """Takes a millisecond for a token it writes and a tenth for one it reads, or what `pace` says, without waiting."""

    board: RecordedMachine | None = None
    context: int = 4096
    pace: dict[str, list[float]] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    clock: float = 0.0

    def machine(self) -> RecordedMachine | None:
        return self.board

    def host(self) -> Host:
        return Host(model="m.gguf", device="board", threads=4, context=self.context, load_ms=20.0,
                    memory={"peak": 5_000_000 + 1000 * len(self.done)})  # fmt: skip

    def time(self, work: BenchWork) -> Timing:
        self.done.append(work.name)
        each = self.pace.get(work.name) or [0.001 if work.kind == "tg" else 0.0001]
        seconds = work.tokens * (each.pop(0) if len(each) > 1 else each[0])
        begin, self.clock = self.clock, self.clock + seconds
        steps = tuple(seconds * 1000 / work.tokens for _ in range(work.tokens)) if work.kind == "tg" else ()
        restored = 0.5 if work.depth and self.done.count(work.name) > 1 else None
        first = seconds * 1000 if work.kind == "pp" else None
        return Timing(tokens=work.tokens, seconds=seconds, begin=begin, steps_ms=steps, first_ms=first, restore_ms=restored)


@dataclass(slots=True)
class BoardSession(Steady, Session):
    """A steady session on a recorded board."""

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        yield from ()


class BoardRunner(Runner):
    """Runs on a recorded board."""

    name: ClassVar[str] = "board"
    machine: RecordedMachine
    pace: dict[str, list[float]] = Field(default_factory=dict)

    def open(self, model: ModelFile | Checkpoint) -> Session:
        return BoardSession(board=self.machine, pace=self.pace)


QUICK = BenchPlan(pp=8, tg=4, repetitions=3)
