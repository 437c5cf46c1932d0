"""The files that no other beats in everything, and the one of them that ships, with the reason in a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pillm
from pillm_llamacpp.choosing.limits import Limits
from pillm_llamacpp.choosing.reasons import Basis, reason_of

WEIGHTS: Mapping[str, float] = {"quality": 5.0, "speed": 1.0, "size": 1.0}
"""What a loss counts: of all probability moved, of the full file's time per token, of its bytes."""
FULL = "F16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A file that was tried: what it is, and what it costs."""

    name: str
    """The quantisation's name, with a suffix where its types were searched for."""
    quant: str
    """llama.cpp's quantisation that it was made with."""
    bytes: int
    ram: int
    """Bytes that it takes on the device."""
    kld: float
    """Mean divergence from the file in full precision on validation texts, nats per token."""
    divergence: pillm.Divergence | None = None
    """All that is known of it; None for the full file."""
    score: float | None = None
    """By the first metric that applies; None for a file that was not scored, since another beats it without that."""
    exact: float | None = None
    """The share of rows that were answered exactly, which `min_exact` is about."""
    scores: Mapping[str, pillm.Figure] = field(default_factory=dict)
    """By every metric."""
    lost: pillm.Difference | None = None
    """The paired difference of the score to the full file's, over the same rows; None for the full file."""
    cut: int = 0
    """Answers that reached the limit of tokens."""
    tg_tps: float | None = None
    """Predicted for the device, as is the prefill's."""
    pp_tps: float | None = None
    types: Mapping[str, str] = field(default_factory=dict)
    """The storage types that were asked for, by tensor; empty for llama.cpp's own mix."""
    imatrix: bool = False
    rounded: bool = False
    """Whether its weights were rounded with the errors of earlier columns in mind."""


def dominates(one: Trial, other: Trial) -> bool:
    """Say whether one file is at least as good as another in size, speed, divergence and score, and better in one."""
    pairs = [(-one.bytes, -other.bytes), (-one.kld, -other.kld)]
    for mine, its in ((one.tg_tps, other.tg_tps), (one.score, other.score)):
        if mine is not None and its is not None:
            pairs.append((mine, its))
    return all(mine >= its for mine, its in pairs) and any(mine > its for mine, its in pairs)


def front(trials: Sequence[Trial]) -> list[Trial]:
    """Return the files that no other dominates, small to large; of two that are equal in everything, the first."""
    kept: list[Trial] = []
    for one in sorted(trials, key=lambda trial: (trial.bytes, trial.kld)):
        if not any(dominates(other, one) for other in trials) and not any(_same(other, one) for other in kept):
            kept.append(one)
    return kept


def _same(one: Trial, other: Trial) -> bool:
    return (one.bytes, one.kld, one.tg_tps, one.score) == (other.bytes, other.kld, other.tg_tps, other.score)


def changed(kld: float) -> float:
    """Return the bound that a mean divergence sets to the share of probability that moved: Pinsker's inequality."""
    return math.sqrt(max(kld, 0.0) / 2)


def costs(trials: Sequence[Trial], full: Trial, weights: Mapping[str, float]) -> list[float]:
    """Return what each file costs, least is best.

    It is the weighted sum of the probability that moved, the time per token and the bytes, as shares of the full file's.
    """
    pace = full.tg_tps or 0.0
    told = [
        {
            "quality": changed(trial.kld),
            "speed": pace / trial.tg_tps if trial.tg_tps else 0.0,
            "size": trial.bytes / full.bytes,
        }
        for trial in trials
    ]
    return [sum(weights.get(name, 0.0) * cost for name, cost in one.items()) for one in told]


def pick(
    trials: Sequence[Trial], limits: Limits, weights: Mapping[str, float], device: str, basis: Basis | None = None
) -> tuple[Trial, str]:
    """Return the file to ship and why, in a sentence; raise GateError where no file keeps to the limits.

    `trials` has the full file too. The pick is the cheapest by `costs` among those of the front that keep to the limits.
    `basis` is what the figures rest on.
    """
    full = next(trial for trial in trials if trial.name == FULL)
    allowed = [trial for trial in trials if not limits.misses(trial, full.exact)]
    if not allowed:
        nearest = min(trials, key=lambda trial: (limits.shortfall(trial, full.exact), trial.bytes))
        raise pillm.GateError(
            f"none of {len(trials)} files keeps to the limits; {nearest.name} comes nearest: "
            f"{'; '.join(limits.misses(nearest, full.exact))}. Loosen them, choose a smaller student, or name the quants "
            "yourself."
        )
    shown = front(allowed)
    # the file in full precision is what the others are held against: it ships only where nothing else may
    compared = [trial for trial in shown if trial.name != FULL] or shown
    priced = costs(compared, full, weights)
    best = compared[priced.index(min(priced))]
    return best, reason_of(best, full, (len(compared), len(trials)), _wanted(limits, weights, device), basis or Basis())


def _wanted(limits: Limits, weights: Mapping[str, float], device: str) -> Mapping[str, str]:
    ordered = [name for name, weight in sorted(weights.items(), key=lambda pair: -pair[1]) if weight > 0]
    cared = " and ".join([", ".join(ordered[:-1]), ordered[-1]]) if len(ordered) > 1 else "".join(ordered)
    return {"cared": cared, "device": device, "asked": limits.asked()}
