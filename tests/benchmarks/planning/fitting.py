"""Fitting the constants of the speed model on published rows, and how far its predictions err on models left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from pillm.devices.profile import DeviceProfile
from pillm.devices.speed import PP, decode_seconds, prefill_seconds
from tests.benchmarks.planning.rows import Row, without

Array = NDArray[np.float64]
Fit = Callable[[Sequence[Row], DeviceProfile], DeviceProfile]
_ROUNDS, _ROBUST_ROUNDS = 30, 15
_SOFT = 0.01
"""Errors below this weigh alike in the fit of prefill; larger ones ever less, so that a paging board does not bend it."""


def fit_prefill(rows: Sequence[Row], profile: DeviceProfile) -> DeviceProfile:
    """Return the profile with cycles per weight of each storage type and of the attention, fitted on the rows' pp512."""
    types = sorted({type_ for row in rows for type_ in row.load.body})
    clock = (profile.cores or 1) * (profile.ghz or 1.0) * 1e9
    spent = np.array([clock / row.pp_tps for row in rows if row.pp_tps])
    costs = np.array(
        [[*(row.load.body.get(type_, 0.0) for type_ in types), float(row.load.attention * PP)] for row in rows if row.pp_tps]
    )
    scale = costs.max(axis=0)
    relative, ones = costs / scale / spent[:, None], np.ones(len(spent))
    found = _non_negative(relative, ones)
    for _ in range(_ROBUST_ROUNDS):
        weight = 1 / np.sqrt(np.maximum(np.abs(relative @ found - 1), _SOFT))
        found = _non_negative(relative * weight[:, None], weight)
    found = found / scale
    cycles = {type_: float(cost) for type_, cost in zip(types, found, strict=False) if cost > 0}
    return replace(profile, cycles=MappingProxyType(cycles), attention_cycles=float(found[-1]))


def fit_decode(rows: Sequence[Row], profile: DeviceProfile, names: Sequence[str]) -> DeviceProfile:
    """Return the profile with some figures changed so that decode agrees best with the rows.

    `names` are figures of the profile, or `decode_cycles.TYPE`. Gauss-Newton on the logarithms of the times.
    """
    truth = np.log([1 / row.tg_tps for row in rows])
    at = np.array([_figure(profile, name) for name in names])

    def errors(point: Array) -> Array:
        tried = _with(profile, dict(zip(names, point, strict=True)))
        return np.log([decode_seconds(row.load, tried) or np.nan for row in rows]) - truth

    for _ in range(_ROUNDS):
        here = errors(at)
        steps = np.maximum(np.abs(at), 1e-3) * 1e-5
        slopes = np.array([(errors(at + step * unit) - here) / step for step, unit in zip(steps, np.eye(len(at)), strict=True)])
        move, *_ = np.linalg.lstsq(slopes.T, -here, rcond=None)
        at = np.maximum(at + np.clip(move, -0.3 * np.abs(at), 0.3 * np.abs(at)), 1e-6)
        if np.max(np.abs(move / at)) < 1e-9:
            break
    return _with(profile, dict(zip(names, at, strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A row of a model that was left out of the fit, and its time over the predicted one, less 1."""

    row: Row
    error: float


def left_out(rows: Sequence[Row], profile: DeviceProfile, fit: Fit, *, prefill: bool = False) -> list[Left]:
    """Return the error of each row when its whole model was left out of the fit."""
    found = []
    for model in dict.fromkeys(row.model for row in rows):
        fitted = fit(without(rows, model), profile)
        found += errors_of([row for row in rows if row.model == model], fitted, prefill=prefill)
    return found


def errors_of(rows: Sequence[Row], profile: DeviceProfile, *, prefill: bool = False) -> list[Left]:
    """Return the errors of a profile's predictions; rows that it says nothing of are left out."""
    found = []
    for row in rows:
        predicted = prefill_seconds(row.load, profile, PP) if prefill else decode_seconds(row.load, profile)
        speed = row.pp_tps if prefill else row.tg_tps
        if predicted and speed:
            found.append(Left(row=row, error=(PP if prefill else 1) / speed / predicted - 1))
    return found


def nine_in_ten(errors: Sequence[Left]) -> float:
    """Return what nine in ten errors like these stay within, as a factor less 1, in both directions alike.

    The rank is that of the next error, not of those seen: with n of them the ceiling of 0.9 (n + 1).
    """
    sizes = np.sort(np.abs(np.log1p([one.error for one in errors])))
    rank = min(math.ceil(0.9 * (len(sizes) + 1)), len(sizes))
    return float(np.expm1(sizes[rank - 1]))


def coverage(rows: Sequence[Row], profile: DeviceProfile, fit: Fit, *, prefill: bool = False) -> float:
    """Return the share of rows inside intervals made without their model: constants and width alike from the others."""
    inside = 0
    counted = 0
    for model in dict.fromkeys(row.model for row in rows):
        others = without(rows, model)
        width = np.log1p(nine_in_ten(left_out(others, profile, fit, prefill=prefill)))
        for one in errors_of([row for row in rows if row.model == model], fit(others, profile), prefill=prefill):
            inside += bool(abs(np.log1p(one.error)) <= width)
            counted += 1
    return inside / counted


def mean(errors: Sequence[Left]) -> float:
    """Return the mean of the errors' sizes."""
    return float(np.mean([abs(one.error) for one in errors]))


def worst(errors: Sequence[Left]) -> float:
    """Return the size of the largest error."""
    return float(max(abs(one.error) for one in errors))


def _non_negative(costs: Array, wanted: Array) -> Array:
    """Return the least squares without what would get a negative cost."""
    kept = [index for index in range(costs.shape[1]) if costs[:, index].any()]
    while True:
        found, *_ = np.linalg.lstsq(costs[:, kept], wanted, rcond=None)
        if (found >= 0).all():
            break
        kept = [index for index, cost in zip(kept, found, strict=True) if cost > 0]
    whole = np.zeros(costs.shape[1])
    whole[kept] = found
    return whole


def _figure(profile: DeviceProfile, name: str) -> float:
    table, _, type_ = name.partition(".")
    return float(getattr(profile, table)[type_] if type_ else getattr(profile, table))


def _with(profile: DeviceProfile, figures: Mapping[str, float]) -> DeviceProfile:
    changed: dict[str, float] = {}
    decode = dict(profile.decode_cycles)
    for name, value in figures.items():
        table, _, type_ = name.partition(".")
        if type_:
            decode[type_] = float(value)
        else:
            changed[table] = float(value)
    return replace(profile, decode_cycles=MappingProxyType(decode), **changed)  # type: ignore[arg-type]
