"""How far a quantised file has moved from the unquantised one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Divergence:
    """How far a file's next-token distributions are from the unquantised file's: Kullback-Leibler, in nats."""

    mean: float
    low: float
    """The mean's 95 % interval, over conversations."""
    high: float
    p99: float
    largest: float
    top1: float
    """Share of positions at which both choose the same token."""
    positions: int
