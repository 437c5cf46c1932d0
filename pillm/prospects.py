"""What plans say of a run's gates on speed and size, before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pillm.gates import SIZE, SPEEDS, Gate
from pillm.plans import Plan, size_text

Fate: TypeAlias = Literal["met", "doubtful", "missed", "unknown"]
_UNSURE_SIZE = 0.05
"""The share of a file that its shape does not tell: texts of the vocabulary, chat template, importance matrix."""
_WORDS = {
    "met": "would be met",
    "doubtful": "is in doubt",
    "missed": "cannot be met",
    "unknown": "is not known beforehand: it will be measured",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """What the plan of a file says of one gate."""

    gate: str
    quant: str
    device: str
    expected: float | None
    """The figure that is predicted; None where nobody knows."""
    best: float | None
    """The best that is thought possible; None where that is not known."""
    bound: float
    fate: Fate
    ground: str
    """On what the figure rests, in a few words."""

    @property
    def sentence(self) -> str:
        """Return what is expected of the file and what that means for the gate."""
        return f"{self.gate}: {self.quant} {self.ground}: {_WORDS[self.fate]}"


def prospects(gates: Sequence[Gate], plans: Sequence[Plan], *, measured: bool) -> tuple[Prospect, ...]:
    """Return what plans say of every gate on speed or size, for each file that is planned.

    `measured` says that the speed will be measured on the device. Else the gate is judged by the prediction in the end, so
    that what misses it now is missed.
    """
    return tuple(one for gate in gates for plan in plans for one in _weighed(gate, plan, measured=measured))


def _weighed(gate: Gate, plan: Plan, *, measured: bool) -> Iterator[Prospect]:
    if gate.figure == SIZE:
        size, bound = plan.bytes, gate.number
        fate: Fate = "met" if size <= bound else "doubtful" if size * (1 - _UNSURE_SIZE) <= bound else "missed"
        ground = f"takes about {size_text(size)} on disk"
        yield _prospect(gate, plan, float(size), size * (1 - _UNSURE_SIZE), fate, ground)
    elif gate.figure in SPEEDS:
        yield _speed(gate, plan, measured=measured)


def _speed(gate: Gate, plan: Plan, *, measured: bool) -> Prospect:
    expected: float | None = getattr(plan, gate.figure)
    if expected is None:
        doing = "writes" if gate.figure == "tg_tps" else "reads"
        ground = f"{doing} nobody knows how fast on {plan.device}" + (f" ({plan.unknown})" if plan.unknown else "")
        return _prospect(gate, plan, None, None, "unknown" if measured else "missed", ground)
    span = plan.tg_interval if gate.figure == "tg_tps" else plan.pp_interval
    best = span[1] if span else None if measured else expected
    fate: Fate = "met" if expected >= gate.number else "doubtful" if best is None or best >= gate.number else "missed"
    doing = "would write" if gate.figure == "tg_tps" else "would read a prompt at"
    within = f", 90 %: {span[0]:,g} to {span[1]:,g}" if span else ""
    far = ", extrapolated" if plan.extrapolated else ""
    ground = f"{doing} about {expected:,g} tokens per second on {plan.device} (predicted{far}{within})"
    return _prospect(gate, plan, expected, best, fate, ground)


def _prospect(gate: Gate, plan: Plan, expected: float | None, best: float | None, fate: Fate, ground: str) -> Prospect:
    return Prospect(
        gate=str(gate), quant=plan.quant, device=plan.device, expected=expected, best=best, bound=gate.number, fate=fate,
        ground=ground,
    )  # fmt: skip
