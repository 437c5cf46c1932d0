"""How a file's speed went from measurement to measurement: series that may be compared, as small lines of text.

A file is known by its content: a student that was trained anew under the same name begins a series of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pillm.performance.history import Measured

_BLOCKS = "▁▂▃▄▅▆▇█"
Setting: TypeAlias = tuple[str, str | None, str | None, int | None, int, int, str]
"""Device, board, machine, threads, both lengths and the basis: what must be alike in a series beside the file."""
COLUMNS = ("timestamp", "tokens_per_second", "init_ms", "decode_ms_per_token", "embed_ms")
"""What other tools read; what a row is of stands behind them."""
ABOUT = ("model", "sha256", "device", "threads", "void")


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Measurements of one file, by its content, on one machine with the same threads, lengths and basis, oldest first."""

    model: str
    """What the file was called last."""
    device: str
    board: str | None
    machine_id: str | None
    threads: int | None
    pp: int
    tg: int
    measured: tuple[Measured, ...]
    basis: str = "measured"
    sha256: str | None = None
    replaces: str | None = None
    """The sha256 of the file that had this name before, where the two were measured alike."""

    @property
    def counted(self) -> tuple[Measured, ...]:
        """Return those that are not void."""
        return tuple(one for one in self.measured if not one.record.void)

    def line(self, figure: str) -> str:
        """Return a figure of those that count as a line of blocks, low to high."""
        return sparkline([getattr(one.record, figure) for one in self.counted])


def series_of(measured: Iterable[Measured]) -> list[Series]:
    """Return measurements in the series that they belong to, each in the order of the history."""
    found: dict[tuple[str, Setting], list[Measured]] = {}
    for one in measured:
        record = one.record
        setting: Setting
        machine_id = record.conditions.machine_id if record.conditions else None
        setting = (record.device, record.board, machine_id, record.threads, record.pp, record.tg, record.basis)
        found.setdefault((record.sha256 or record.model, setting), []).append(one)
    series: list[Series] = []
    before: dict[tuple[str, Setting], str | None] = {}
    for (_, setting), members in found.items():
        last = members[-1].record
        device, board, machine_id, threads, pp, tg, basis = setting
        replaces = before.get((last.model, setting))
        before[last.model, setting] = last.sha256
        series.append(
            Series(model=last.model, device=device, board=board, machine_id=machine_id, threads=threads, pp=pp, tg=tg,
                   basis=basis, measured=tuple(members), sha256=last.sha256, replaces=replaces)
        )  # fmt: skip
    return series


def sparkline(values: Sequence[float]) -> str:
    """Return values as blocks from the lowest to the highest; changes of less than 2 % stay in the middle."""
    if not values:
        return ""
    low, high, middle = min(values), max(values), fmean(values)
    span = max(high - low, 0.02 * middle) or 1.0
    start = (low + high - span) / 2
    return "".join(_BLOCKS[min(len(_BLOCKS) - 1, int((value - start) / span * len(_BLOCKS)))] for value in values)


def csv_rows(measured: Iterable[Measured]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a table with the columns COLUMNS and ABOUT; what was not measured, or is not known, is left empty."""
    for one in measured:
        record = one.record
        embed = record.times.get("embed_ms")
        yield (
            record.at or one.at,
            f"{record.tg_tps:.2f}" if record.tg_tps else "",
            "" if record.load_ms is None else f"{record.load_ms:.2f}",
            f"{1000 / record.tg_tps:.2f}" if record.tg_tps else "",
            "" if embed is None else f"{embed.value:.2f}",
            record.model,
            record.sha256 or "",
            record.device,
            str(record.threads or ""),
            "; ".join(record.void),
        )
