"""Try llama.cpp's mixes, search for better ones of the same size and within the budget, and choose by what was measured."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np
from gguf import GGUFReader

import pillm
from pillm_llamacpp.choosing import candidates
from pillm_llamacpp.choosing.allocation import Allocations
from pillm_llamacpp.choosing.front import WEIGHTS, Trial, front, pick
from pillm_llamacpp.choosing.grids import decoded
from pillm_llamacpp.choosing.limits import Limits
from pillm_llamacpp.choosing.losses import Matrix, groups, priced, product_error
from pillm_llamacpp.choosing.trials import Bench, Mix, memory
from pillm_llamacpp.measuring.sizes import Sizer

_BASE, _UNTOUCHED, _ANCHOR = "Q8_0", "F16", "Q4_0"
_HALVINGS = 24
TUNED, FITTED = "-tuned", "-fitted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a choice is made by."""

    limits: Limits = field(default_factory=Limits)
    weights: Mapping[str, float] = field(default_factory=lambda: dict(WEIGHTS))
    probes: int = 32
    """Groups of tensors whose loss is measured by a file of their own; 0: no search, llama.cpp's mixes alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Everything that was tried, the files that no other beats, and the one that ships."""

    trials: tuple[Trial, ...]
    front: tuple[Trial, ...]
    picked: Trial
    reason: str
    device: str


class Search:
    """One choice: the full file's tensors, what may be tried, and what was found so far."""

    def __init__(self, bench: Bench, wishes: Wishes) -> None:
        """Look at the full file and the device; raise ConfigError where no type suits both."""
        self._bench, self._wishes = bench, wishes
        self._profile = pillm.device(bench.device)
        self._sizer = Sizer(bench.full)
        quantised = {name for name, type_ in self._types_of(_BASE).items() if type_ == _BASE}
        self.matrices = tuple(
            Matrix(name=tensor.name, columns=int(tensor.shape[0]), weights=int(tensor.n_elements))
            for tensor in GGUFReader(os.fspath(bench.full)).tensors
            if tensor.name in quantised
        )
        columns = {matrix.columns for matrix in self.matrices}
        self.quants = candidates.quantisations(self._profile, columns)
        if not self.quants:
            raise pillm.ConfigError(
                f"no quantisation suits both {bench.device} and rows of {', '.join(map(str, sorted(columns)))} weights. "
                "Name the quants yourself."
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._sizer.close()

    def run(self) -> Choice:
        """Try, search and choose; raise GateError where no file keeps to the limits."""
        bench, wishes = self._bench, self._wishes
        asked = self._within_limits()
        bench.progress.start(None, unit="files", message=f"choosing a quantisation for {bench.device}")
        plain = [bench.tried(Mix(name=quant, quant=quant, imatrix=True)) for quant in asked]
        trials = [*plain, *self._tuned(plain)] if wishes.probes else plain
        shown = {trial.name for trial in front(trials)}
        whole = bench.whole()
        scored = [bench.scored(trial) if trial.name in shown else trial for trial in trials]
        every = [whole, *scored]
        picked, reason = pick(every, wishes.limits, wishes.weights, bench.device)
        bench.progress.note(reason)
        return Choice(trials=tuple(every), front=tuple(front(every)), picked=picked, reason=reason, device=bench.device)

    def _within_limits(self) -> list[str]:
        """Return the quantisations that keep to the budget by arithmetic; the smallest alone where none does."""
        found = [quant for quant in self.quants if not self._misses(self._types_of(quant))]
        return found or [min(self.quants, key=lambda quant: self._planned(self._types_of(quant)).bytes)]

    def _types_of(self, quant: str) -> dict[str, str]:
        return {one.name: one.type for one in self._sizer.size(quant, imatrix=self._bench.imatrix).tensors}

    def _planned(self, types: Mapping[str, str]) -> pillm.Plan:
        return pillm.plan(self._bench.full, self._bench.device, types=types)

    def _misses(self, types: Mapping[str, str]) -> list[str]:
        planned = self._planned(types)
        return self._wishes.limits.misses_device(planned.bytes, memory(planned), planned.tg_tps)

    def _tuned(self, plain: Sequence[Trial]) -> list[Trial]:
        """Return the files of searched types that lose less than llama.cpp's mix of their size, each after measuring."""
        allocations = self._allocations()
        found = []
        for trial in front(plain):
            types = self._types_of(trial.quant)
            budget = sum(candidates.stored(types[one.name], one.weights) for one in self.matrices)
            chosen = allocations.within(budget)
            if chosen is None or self._misses(chosen):
                continue
            better = self._bench.tried(self._mix(trial.quant + TUNED, trial.quant, chosen))
            if better.kld < trial.kld and better.bytes <= trial.bytes:
                found.append(better)
            else:
                self._bench.drop(better.name)
        fitted = self._fitted(allocations, plain)
        return [*found, fitted] if fitted is not None else found

    def _fitted(self, allocations: Allocations, plain: Sequence[Trial]) -> Trial | None:
        """Return a file that uses the whole budget, where there is one that no plain size happens to meet."""
        limits = self._wishes.limits
        if limits.max_bytes is None and limits.max_ram is None and limits.min_tps is None:
            return None
        low, high = allocations.smallest, allocations.largest
        best = allocations.within(low)
        if best is None or self._misses(best):
            return None
        for _ in range(_HALVINGS):
            middle = (low + high + 1) // 2
            chosen = allocations.within(middle)
            if chosen is None or self._misses(chosen):
                high = middle - 1
            else:
                low, best = middle, chosen
        size = self._planned(best).bytes
        nearest = min(plain, key=lambda trial: abs(trial.bytes - size)).quant
        return self._bench.tried(self._mix(nearest + FITTED, nearest, best))

    def _mix(self, name: str, quant: str, types: Mapping[str, str]) -> Mix:
        return Mix(name=name, quant=quant, types=types, imatrix=True, rounded=True)

    def _allocations(self) -> Allocations:
        parts = priced(groups(self.matrices, self._wishes.probes), self._errors(), self._anchor, self._probe)
        return Allocations(parts)

    def _anchor(self, columns: int) -> str:
        types = candidates.tensor_types(self._profile, columns)
        return _ANCHOR if _ANCHOR in types else types[0]

    def _probe(self, types: Mapping[str, str]) -> float:
        """Return the divergence of a file in which only these tensors are quantised."""
        others = {one.name: _UNTOUCHED for one in self.matrices if one.name not in types}
        return self._bench.divergence(self._mix("probe", _BASE, {**others, **types}))

    def _errors(self) -> dict[str, dict[str, float]]:
        """Return the error of each tensor's product in each type that suits the device, from one file for each type."""
        asked = {one.name: candidates.tensor_types(self._profile, one.columns) for one in self.matrices}
        errors: dict[str, dict[str, float]] = {one.name: {} for one in self.matrices}
        for type_ in dict.fromkeys(type_ for types in asked.values() for type_ in types):
            wanted = {name: type_ for name, types in asked.items() if type_ in types}
            for name, error in self._errors_in(type_, wanted):
                errors[name][type_] = error
        return errors

    def _errors_in(self, type_: str, wanted: Mapping[str, str]) -> list[tuple[str, float]]:
        bench = self._bench
        mix = Mix(name=f"all-{type_}", quant=_BASE, types=wanted, imatrix=True)
        try:
            whole = {tensor.name: tensor for tensor in GGUFReader(os.fspath(bench.full)).tensors}
            held = {tensor.name: tensor for tensor in GGUFReader(os.fspath(bench.make(mix))).tensors}
            return [(name, self._error(whole[name], held[name])) for name in wanted]
        finally:
            bench.drop(mix.name)

    def _error(self, whole: Any, held: Any) -> float:
        bench, name = self._bench, str(held.name)
        difference = _weights(whole) - _weights(held)
        energy = bench.imatrix.means(name) if bench.imatrix is not None and name in bench.imatrix.tensors else None
        return product_error(difference, bench.moments.blocks(name) if bench.moments is not None else (), energy)


def _weights(tensor: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    return decoded(tensor.tensor_type.name, np.asarray(tensor.data))
