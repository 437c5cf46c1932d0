"""How far `pillm plan` errs on published speeds of models that its fit never saw, against file size over bandwidth.

The peer is what llama-roofline and file listings do: bytes of the file over one bandwidth, here the best for the same rows.
Errors are shares of the published time. Nothing is timed, so every machine finds the same figures.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tests.benchmarks.harness import Result
from tests.benchmarks.planning.boards import PI4, PI5_THREADS, fit_pi4, pi4, pi5, pi5_rows
from tests.benchmarks.planning.fitting import Left, coverage, errors_of, fit_prefill, left_out, mean, worst
from tests.benchmarks.planning.rows import Row, rows_of

PEER = "file size over the one bandwidth that fits these rows best"
LIMIT = "how alike two runs of one board are, and that five models are few"


def run(quick: bool) -> Iterator[Result]:
    """Yield one line for each figure that is promised."""
    del quick
    yield from _decode(rows_of("pi4"))
    yield from _prefill(rows_of("pi4"))
    yield _ollama(rows_of("pi4 ollama"))
    yield _pi5()


def _decode(rows: Sequence[Row]) -> Iterator[Result]:
    decode = left_out(rows, PI4, fit_pi4)
    plain = [one for one in decode if not one.row.few_bits]
    peer = _sizes(rows)
    peer_plain = [one for one in peer if not one.row.few_bits]
    yield _line("plan-pi4-decode-mean", mean(plain), mean(peer_plain), 0.02, rows=len(plain))
    yield _line("plan-pi4-decode-worst", worst(plain), worst(peer_plain), 0.08, rows=len(plain))
    yield _line("plan-pi4-decode-all-worst", worst(decode), worst(peer), 0.10, rows=len(decode))
    share = coverage(rows, PI4, fit_pi4)
    yield _coverage("plan-pi4-decode-coverage", share, rows=len(decode))


def _prefill(rows: Sequence[Row]) -> Iterator[Result]:
    prefill = left_out(rows, PI4, fit_prefill, prefill=True)
    peer = _rates(rows)
    paged = [one for one in prefill if (one.row.model, one.row.quant) != ("Llama-3.2-1B", "F16")]
    yield _line(
        "plan-pi4-prefill-mean", mean(prefill), mean(peer), 0.05, peer_is="weights over the one rate that fits these rows best",
        rows=len(prefill), worst=worst(prefill), worst_but_the_file_that_pages=worst(paged),
    )  # fmt: skip
    yield _coverage("plan-pi4-prefill-coverage", coverage(rows, PI4, fit_prefill, prefill=True), rows=len(prefill))


def _ollama(rows: Sequence[Row]) -> Result:
    """Return the error under Ollama with one factor for all rows: it adds its own overhead to the same kernels."""
    found, factor = _scaled(errors_of(rows, pi4()))
    peer, _ = _scaled(_sizes(rows))
    return _line("plan-pi4-ollama-mean", mean(found), mean(peer), 0.07, rows=len(rows), factor=1 / factor, worst=worst(found))


def _pi5() -> Result:
    found = [one for threads in PI5_THREADS for one in errors_of(pi5_rows(threads), pi5(threads))]
    peer = [one for threads in PI5_THREADS for one in _sizes(pi5_rows(threads))]
    unseen = errors_of(rows_of("pi5 2024"), pi5(4))
    return _line(
        "plan-pi5-decode-mean", mean(found), mean(peer), 0.05, rows=len(found), worst=worst(found),
        two_threads=mean(errors_of(pi5_rows(2), pi5(2))), unseen_rows_of_2024=mean(unseen), unseen=len(unseen),
    )  # fmt: skip


def _line(name: str, error: float, peer: float, most: float, *, peer_is: str = PEER, **details: Any) -> Result:
    return Result(
        benchmark=name,
        pillm=round(error, 5),
        peer=round(peer, 5),
        unit="of the time",
        goal=round(most / peer, 4),
        better="lower",
        peer_is=peer_is,
        limit=LIMIT,
        details={"at most": most, **{key.replace("_", " "): _short(value) for key, value in details.items()}},
    )


def _coverage(name: str, share: float, rows: int) -> Result:
    """Return how far the share of rows inside their 90 % interval is from nine in ten; five in a hundred are allowed."""
    return Result(
        benchmark=name,
        pillm=round(abs(share - 0.9), 5),
        peer=0.05,
        unit="of the rows",
        goal=1.0,
        better="lower",
        peer_is="the 5 % that an interval of 90 % may cover more or less",
        limit="five models: the intervals of one are made from the errors of the other four",
        details={"coverage": _short(share), "rows": rows},
    )


def _sizes(rows: Sequence[Row]) -> list[Left]:
    return _by_one_rate(rows, lambda row: float(row.shape.file_bytes), lambda row: row.tg_tps)


def _rates(rows: Sequence[Row]) -> list[Left]:
    return _by_one_rate(rows, lambda row: sum(row.load.body.values()), lambda row: row.pp_tps or np.nan)


def _by_one_rate(rows: Sequence[Row], amount: Callable[[Row], float], speed: Callable[[Row], float]) -> list[Left]:
    rate = statistics.median(amount(row) * speed(row) for row in rows)
    return [Left(row=row, error=rate / speed(row) / amount(row) - 1) for row in rows]


def _scaled(errors: Sequence[Left]) -> tuple[list[Left], float]:
    factor = float(np.exp(np.mean(np.log1p([one.error for one in errors]))))
    return [Left(row=one.row, error=(1 + one.error) / factor - 1) for one in errors], factor


def _short(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value
