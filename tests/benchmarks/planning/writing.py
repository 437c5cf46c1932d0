"""The fitted figures as the YAML files that the profiles of the boards extend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pillm.devices import PROFILES
from tests.benchmarks.planning.boards import PI4, PI5, fit_pi4, fit_pi5, pi4, pi5, pi5_rows
from tests.benchmarks.planning.fitting import errors_of, fit_prefill, left_out, mean, nine_in_ten, worst
from tests.benchmarks.planning.rows import Row, rows_of

FAMILIES = PROFILES / "families"
HEAD = (
    "# Made by `python -m tests.benchmarks.planning --write` from measurements.csv there; change the rows or the fit instead.\n"
)


def files() -> dict[Path, str]:
    """Return each file and what it must hold."""
    return {FAMILIES / "pi4-fit.yaml": HEAD + pi4_text(), FAMILIES / "pi5-fit.yaml": HEAD + pi5_text()}


def pi4_text() -> str:
    """Return the fitted figures of the Pi 4."""
    rows, fitted = rows_of("pi4"), pi4()
    decode = left_out(rows, PI4, fit_pi4)
    prefill = left_out(rows, PI4, fit_prefill, prefill=True)
    said = (
        f"fit of decode on {len(rows)} published rows of a Pi 4B (llama.cpp b7095, 4 threads, tg128); with each model left out "
        f"mean error {_percent(mean(decode))}, worst {_percent(worst(decode))}"
    )
    cooked = (
        f"per weight and core; fit of prefill on the same rows (pp512), with each model left out mean error "
        f"{_percent(mean(prefill))}"
    )
    lines = [
        _figure("bandwidth_gbps", fitted.bandwidth_gbps, said),
        _figure("layer_ms", fitted.layer_ms, "the same fit"),
        _figure("decode_factor", fitted.decode_factor, "the same fit: cycles per weight in decode over those in prefill"),
        _figure("decode_error", nine_in_ten(decode), "nine in ten rows of models that were left out"),
        _figure("prefill_error", nine_in_ten(prefill), "nine in ten rows of models that were left out"),
        *_range(rows),
        _figure("attention_cycles", fitted.attention_cycles, "the fit of prefill; per multiply-add of the attention"),
        *_table("cycles", fitted.cycles, cooked),
    ]
    return "".join(lines)


def pi5_text() -> str:
    """Return the fitted figures of the Pi 5."""
    rows, fitted = pi5_rows(2), pi5(2)
    errors = errors_of(rows, fitted)
    said = (
        f"fit of decode on {len(rows)} published rows of a Pi 5 (2 threads, tg128), mean error {_percent(mean(errors))}, worst "
        f"{_percent(worst(errors))}; {pi5(3).bandwidth_gbps:.3g} GB/s at 3 threads, {pi5(4).bandwidth_gbps:.3g} GB/s at 4"
    )
    both = left_out(rows, PI5, fit_pi5)
    wide = f"nine in ten rows when one of the two models is left out, whose mean error is then {_percent(mean(both))}"
    lines = [
        _figure("bandwidth_gbps", fitted.bandwidth_gbps, said),
        _figure("decode_error", nine_in_ten(both), wide, trust=2),
        *_range(rows),
        *_table("decode_cycles", fitted.decode_cycles, "the same fit; the types that the board does not repack for decode"),
    ]
    return "".join(lines)


def _range(rows: Sequence[Row]) -> Iterable[str]:
    smallest, largest = (pick(rows, key=lambda row: row.shape.file_bytes) for pick in (min, max))
    for key, row, which in (("from", smallest, "smallest"), ("to", largest, "largest")):
        size = row.shape.file_bytes / 1e6
        size = size * 0.995 if key == "from" else size * 1.005
        yield _figure(f"fitted_{key}_mb", size, f"the {which} file of the fit, {row.model} in {row.quant}")


def _table(name: str, cycles: Mapping[str, float], source: str) -> Iterable[str]:
    yield f'{name}:\n  source: "{source}"\n  trust: 3\n'
    for type_, cost in sorted(cycles.items(), key=lambda pair: pair[1]):
        yield f"  {type_}: {cost:.3g}\n"


def _figure(key: str, value: float | None, source: str, *, trust: int = 3) -> str:
    return f'{key}: {{value: {value:.4g}, source: "{source}", trust: {trust}}}\n'


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
