"""Gates: what a run must reach, written as `0.9`, `0.95 of teacher`, `0.3 above base` or `0.02 below F16`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pillm.artifacts import Basis, Benchmark, Evaluation, ModelFile, Plan
from pillm.errors import ConfigError, did_you_mean
from pillm.wording import size

Relation: TypeAlias = Literal["of", "above", "below"]
_FORM = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)(?:\s+(of|above|below)\s+(\S+))?\s*")
SPEEDS = ("tg_tps", "pp_tps")
SIZE = "bytes"
_WHOLE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One demand on every shipped file: `figure` at least `number`, alone or relative to another subject's figure.

    "of" multiplies the other subject's mean, "above" adds to it, "below" takes from it. `bytes` is an upper bound.
    """

    figure: str
    number: float
    relation: Relation | None = None
    subject: str | None = None

    def __str__(self) -> str:
        sign = "<=" if self.figure == SIZE else ">="
        return f"{self.figure} {sign} {self.number:.12g}" + (f" {self.relation} {self.subject}" if self.relation else "")

    def bound(self, other: float) -> float:
        """Return the least value that meets the gate, given the other subject's figure."""
        if self.relation == "of":
            return self.number * other
        if self.relation == "above":
            return other + self.number
        return other - self.number if self.relation == "below" else self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """Whether one file met one gate, and by what figures; without them it is not met, and the reason says why.

    Of a void measurement nobody can say: `met` is None, the gate was not judged, and the reason is what disturbed it.
    """

    gate: str
    model: str
    value: float | None
    bound: float | None
    met: bool | None
    reason: str | None = None

    @property
    def sentence(self) -> str:
        """Return what the file reached and what it had to, or why nobody can tell."""
        if self.met is None:
            return f"{self.model}: {self.gate} was not judged: {self.reason}"
        if self.value is None or self.bound is None:
            return f"{self.model}: {self.gate} cannot be checked: {self.reason}"
        value, bound = (figure_text(self.gate, one) for one in (self.value, self.bound))
        return f"{self.model}: {self.gate} was {value}, needed {bound}"


def figure_text(gate: str, value: float | None) -> str:
    """Return a figure that a gate is on as text: bytes as sizes, all else with four digits; a dash for none."""
    if value is None:
        return "-"
    if gate.partition(" ")[0] == SIZE:
        return size(round(value))
    return f"{value:.0f}" if abs(value) >= _WHOLE else f"{value:.4g}"


def parse_gates(section: Mapping[str, object]) -> tuple[Gate, ...]:
    """Return the gates of a recipe's `gates:` section; raise ConfigError for a form that is not understood."""
    gates = []
    for figure, demands in section.items():
        for demand in demands if isinstance(demands, list) else [demands]:
            match = _FORM.fullmatch(str(demand))
            if match is None or isinstance(demand, bool):
                raise ConfigError(
                    f"gates: {figure}: {demand!r} is not understood. Write a number, or e.g. '0.95 of teacher', "
                    "'0.3 above base', '0.02 below F16'."
                )
            number, relation, subject = match.groups()
            gates.append(Gate(figure=figure, number=float(number), relation=relation, subject=subject))  # type: ignore[arg-type]
    return tuple(gates)


def check_names(gates: Sequence[Gate], metrics: Collection[str], subjects: Collection[str] | None) -> None:
    """Raise ConfigError for a gate whose figure nobody will measure or whose subject nobody will score.

    Without `subjects` any subject will do: the exporter does not say what it makes.
    """
    figures = [*metrics, *SPEEDS, SIZE]
    for gate in gates:
        where = f"gates: {str(gate)!r}:"
        if gate.figure not in figures:
            known = ", ".join(figures)
            raise ConfigError(
                f"{where} no figure is called {gate.figure!r}.{did_you_mean(gate.figure, figures)} Figures are: {known}."
            )
        if gate.subject is None:
            continue
        if gate.figure not in metrics:
            raise ConfigError(f"{where} {gate.figure} takes a number alone.")
        if subjects is not None and gate.subject not in subjects:
            near, known = did_you_mean(gate.subject, subjects), ", ".join(subjects)
            raise ConfigError(f"{where} there is no subject {gate.subject!r}.{near} Subjects are: {known}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The figures that gates are checked against."""

    models: Sequence[ModelFile]
    evaluations: Sequence[Evaluation]
    benchmarks: Sequence[Benchmark]
    plans: Mapping[str, Plan]
    """By model file name: the prediction for the recipe's device."""
    device: str | None = None
    """The recipe's device; where one is named, no other machine's speed counts."""


def speed_rank(device: str, basis: Basis, wanted: str | None) -> int | None:
    """Return how soon a speed counts for the wanted device, 0 first: measured before predicted; None where it does not.

    Another machine's speed never counts, nor an emulator's. Where no device is wanted, any machine will do.
    """
    if basis == "emulated" or wanted not in (None, device):
        return None
    return ("measured", "predicted").index(basis)


def check_gates(gates: Sequence[Gate], facts: Facts) -> list[GateResult]:
    """Check every gate on every shipped file.

    A gate whose figures are missing is not met, one whose measurement is void is not judged; its result says why.
    """
    return [_check(gate, model, facts) for gate in gates for model in facts.models]


def needs_speed(gates: Sequence[Gate]) -> bool:
    """Return whether a gate is of a speed."""
    return any(gate.figure in SPEEDS for gate in gates)


class _NoFigure(Exception):
    """A figure that a gate needs was never made; the message is the reason."""


class _Void(Exception):
    """The measurement that a gate needs is void; the message is the reason."""


def _check(gate: Gate, model: ModelFile, facts: Facts) -> GateResult:
    try:
        value = _value(gate, model, facts)
        bound = gate.bound(_mean(gate, gate.subject, facts.evaluations) if gate.subject else 0.0)
    except _NoFigure as missing:  # hours were spent by now: the run keeps its report, and this gate is not met
        return GateResult(gate=str(gate), model=model.label, value=None, bound=None, met=False, reason=str(missing))
    except _Void as void:  # neither met nor missed: what the machine disturbed says nothing of the file
        return GateResult(gate=str(gate), model=model.label, value=None, bound=None, met=None, reason=str(void))
    met = value <= bound if gate.figure == SIZE else value >= bound - 1e-9
    return GateResult(gate=str(gate), model=model.label, value=value, bound=bound, met=met)


def _value(gate: Gate, model: ModelFile, facts: Facts) -> float:
    if gate.figure == SIZE:
        return float(model.bytes)
    if gate.figure in SPEEDS:
        return _speed(gate.figure, model, facts)
    return _mean(gate, model.label, facts.evaluations)


def _speed(figure: str, model: ModelFile, facts: Facts) -> float:
    told: list[Benchmark | Plan] = [*facts.benchmarks, *facts.plans.values()]
    found = [
        (rank, float(value), one)
        for one in told
        if one.model == model.label
        and (value := getattr(one, figure)) is not None
        and (rank := speed_rank(one.device, one.basis, facts.device)) is not None
    ]
    if found:
        _, value, one = min(found, key=lambda entry: entry[0])
        if isinstance(one, Benchmark) and one.void:
            raise _Void(f"its measurement is void ({'; '.join(one.void)}).")
        return value
    if facts.device is None:
        raise _NoFigure("its speed was not measured.")
    raise _NoFigure(
        f"its {figure} on {facts.device} was neither measured nor predicted. A bench_runner that runs there measures it."
    )


def _mean(gate: Gate, subject: str, evaluations: Sequence[Evaluation]) -> float:
    """Return a subject's mean on the held-out set; subjects are named by label, kind or quantisation."""
    held_out = [one for one in evaluations if one.set == "test"]
    if not held_out:
        raise _NoFigure("no held-out rows were scored.")
    held_out = [one for one in held_out if one.kind not in ("adapter", "device")]  # scored on some of the rows only
    files = [one for one in held_out if one.kind == "model" and one.subject == subject]  # a teacher may have a file's name
    named = files or [one for one in held_out if subject in (one.subject, one.kind, one.quant)]
    if not named:
        subjects = sorted({name for one in held_out for name in (one.kind, one.quant) if name})
        raise _NoFigure(f"there is no subject {subject!r}; scored: {', '.join(subjects)}.")
    if gate.figure not in named[0].metrics:
        scored = ", ".join(named[0].metrics) or "none"
        raise _NoFigure(f"metric {gate.figure!r} applied to no held-out row of {subject}; scored: {scored}.")
    return named[0].metrics[gate.figure].mean
