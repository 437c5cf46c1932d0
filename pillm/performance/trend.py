"""How a file's speed went from measurement to measurement: series that may be compared, as small lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pillm.performance.history import Measured

_BLOCKS = "▁▂▃▄▅▆▇█"
COLUMNS = ("timestamp", "tokens_per_second", "init_ms", "decode_ms_per_token", "embed_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Measurements of one file name on one device with the same threads and lengths, oldest first; void ones apart."""

    model: str
    device: str
    board: str | None
    threads: int | None
    pp: int
    tg: int
    measured: tuple[Measured, ...]

    @property
    def counted(self) -> tuple[Measured, ...]:
        """Return those that are not void."""
        return tuple(one for one in self.measured if not one.record.void)

    def line(self, figure: str) -> str:
        """Return a figure of those that count as a line of blocks, low to high."""
        return sparkline([getattr(one.record, figure) for one in self.counted])


def series_of(measured: Iterable[Measured]) -> list[Series]:
    """Return measurements in the series that they belong to, each in the order of the history."""
    found: dict[tuple[str, str, str | None, int | None, int, int], list[Measured]] = {}
    for one in measured:
        record = one.record
        key = (record.model, record.device, record.board, record.threads, record.pp, record.tg)
        found.setdefault(key, []).append(one)
    names = ("model", "device", "board", "threads", "pp", "tg")
    return [Series(**dict(zip(names, key, strict=True)), measured=tuple(members)) for key, members in found.items()]  # type: ignore[arg-type]


def sparkline(values: Sequence[float]) -> str:
    """Return values as blocks from the lowest to the highest; changes of less than 2 % stay in the middle."""
    if not values:
        return ""
    low, high, middle = min(values), max(values), fmean(values)
    span = max(high - low, 0.02 * middle) or 1.0
    start = (low + high - span) / 2
    return "".join(_BLOCKS[min(len(_BLOCKS) - 1, int((value - start) / span * len(_BLOCKS)))] for value in values)


def csv_rows(measured: Iterable[Measured]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a table with the columns COLUMNS; a figure that was not measured is left empty."""
    for one in measured:
        record = one.record
        embed = record.times.get("embed_ms")
        yield (
            record.at or one.at,
            f"{record.tg_tps:.2f}" if record.tg_tps else "",
            "" if record.load_ms is None else f"{record.load_ms:.2f}",
            f"{1000 / record.tg_tps:.2f}" if record.tg_tps else "",
            "" if embed is None else f"{embed.value:.2f}",
        )
