"""Write what a calibration found as a profile of one's own."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence

from pillm.artifacts import DeviceFacts
from pillm.devices.calibration import Fit
from pillm.devices.quants import QUANTS

REACH = 4.0
"""A file so many times larger or smaller than the timed ones is still told without a warning."""
_MEASURED, _GUESSED = 3, 1


def calibrated_text(
    name: str, facts: DeviceFacts, fits: Sequence[Fit], *, day: str, repacked: Collection[str] | None = None,
    disturbed: Sequence[str] = (),
) -> str:  # fmt: skip
    """Return the YAML of a profile that extends `name`, with what the fits show.

    The second fit, if any, is that of small files, which a runner gives fewer threads. `repacked` are the storage types that
    are held a second time, None where that is not known; `disturbed` is what befell the timings, which are trusted less then.
    """
    whole = fits[0]
    ghz = facts.max_ghz or 1.0
    clock = "" if facts.max_ghz else "; the clock is not known, so cycles are nanoseconds"
    lines = [
        "# Made by `pillm plan --calibrate`; measure again after a change of system, cooling or llama.cpp.\n",
        *(f"# Disturbed: {_one_line(one)}.\n" for one in disturbed),
        f"extends: {name}\n",
        f"title: {json.dumps(f'{facts.model or facts.cpu or name}, calibrated')}\n",
        *(_figure("ram_mib", facts.ram_mib, "a probe of the machine") if facts.ram_mib else ()),
        *(_figure("cores", whole.profile.threads or 1, f"measured here, {day}: the threads that were used")),
        *_figure("ghz", ghz, f"a probe of the machine{clock}"),
        *(_repacked(repacked) if repacked is not None else ()),
        *_speeds(whole, day, disturbed),
    ]
    for few in fits[1:]:
        below = math.sqrt(max(few.sizes) * min(_own_sizes(whole, few)))
        source = "between the largest file that the runner gave fewer threads and the smallest that it gave all"
        lines += ["small_files:\n", *(f"  {line}" for line in _figure("below_mb", below, source))]
        lines += [_indented(line) for line in _speeds(few, day, disturbed)]
    return "".join(lines)


def _own_sizes(whole: Fit, few: Fit) -> list[float]:
    """Return the sizes of the files that got all threads of the runner's own accord, or else of all."""
    return [size for size in whole.sizes if size not in few.sizes] or whole.sizes


def _indented(text: str) -> str:
    return "".join(f"  {line}" for line in text.splitlines(keepends=True))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _repacked(types: Collection[str]) -> Iterator[str]:
    source = "what the timed program says of itself, and a probe of the machine"
    yield f"repacked:\n  source: {json.dumps(source)}\n  trust: {_MEASURED}\n  types: [{', '.join(sorted(types))}]\n"


def _speeds(fit: Fit, day: str, disturbed: Sequence[str]) -> Iterator[str]:
    """Yield what the timings of one number of threads show."""
    found, sizes = fit.profile, fit.sizes
    trust = _GUESSED if disturbed else _MEASURED
    said = f"measured here, {day}, {found.threads} threads" + (f", disturbed ({_one_line(disturbed[0])})" if disturbed else "")
    fitted = f"{said}: files of {' and '.join(f'{size:.0f}' for size in sizes)} MB"
    slow = found.decode_cycles
    errors = {"decode_error": found.decode_error, "prefill_error": found.prefill_error}
    missed = f"{said}: the most that the fit missed of its own timings, more where it has few to spare"
    yield from (
        *_figure("threads", found.threads or 1, said),
        *_figure("threads_batch", found.threads or 1, said),
        *_figure("bandwidth_gbps", found.bandwidth_gbps or 0.0, fitted, trust),
        *_figure("layer_ms", found.layer_ms, fitted, trust),
        *_figure("token_ms", found.token_ms, fitted, trust),
        *(line for key, error in errors.items() if error for line in _figure(key, error, missed, trust)),
        *_figure("fitted_from_mb", sizes[0] / REACH, f"a {REACH:g}th of the smallest file"),
        *_figure("fitted_to_mb", sizes[-1] * REACH, f"{REACH:g} times the largest file"),
        *_figure("attention_cycles", found.attention_cycles, f"{said}: prompts of two lengths", trust),
        *_table("cycles", f"{said}; per weight and core", trust, found.cycles),
        *_table("cycles_estimated", "the mean of the types that were measured", _GUESSED, _guessed(found.cycles, found.cycles)),
    )
    if slow:
        yield from _table("decode_cycles", f"{said}; of types that wait for the cores", trust, slow)
        yield from _table("decode_cycles_estimated", "the mean of those measured", _GUESSED, _guessed(slow, found.cycles))


def _guessed(cycles: Mapping[str, float], known: Mapping[str, float]) -> dict[str, float]:
    """Return the mean for every type that was not timed."""
    mean = statistics.fmean(cycles.values())
    return {type_: mean for type_ in dict.fromkeys(QUANTS.values()) if type_ not in known}


def _figure(key: str, value: float, source: str, trust: int = _MEASURED) -> Iterator[str]:
    if math.isfinite(value):
        yield f"{key}: {{value: {value:.6g}, source: {json.dumps(source)}, trust: {trust}}}\n"


def _table(name: str, source: str, trust: int, cycles: Mapping[str, float]) -> Iterator[str]:
    yield f"{name}:\n  source: {json.dumps(source)}\n  trust: {trust}\n"
    yield from (f"  {type_}: {cost:.4g}\n" for type_, cost in cycles.items())
