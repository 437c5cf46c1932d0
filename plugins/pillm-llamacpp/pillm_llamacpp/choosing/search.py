"""Try llama.cpp's mixes, search for better ones of the same size and within the budget, and choose by what was measured."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from gguf import GGUFReader

import pillm
from pillm_llamacpp.choosing import candidates
from pillm_llamacpp.choosing.allocation import Allocations
from pillm_llamacpp.choosing.forecast import Forecast, Pace, forecast
from pillm_llamacpp.choosing.front import WEIGHTS, Trial, front, pick
from pillm_llamacpp.choosing.limits import Limits
from pillm_llamacpp.choosing.losses import Matrix
from pillm_llamacpp.choosing.reasons import Basis
from pillm_llamacpp.choosing.trials import Bench, Mix, memory
from pillm_llamacpp.choosing.tuning import BASE, Tuning
from pillm_llamacpp.measuring.sizes import Sizer

TUNED, FITTED = "-tuned", "-fitted"
_HALVINGS = 24


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
    basis: Basis = field(default_factory=Basis)
    decisions: tuple[dict[str, Any], ...] = ()
    """What was settled before types were searched for, each by a paired difference over conversations."""


class Search:
    """One choice: the full file's tensors, what may be tried, and what was found so far."""

    def __init__(self, bench: Bench, wishes: Wishes) -> None:
        """Look at the full file and the device; raise ConfigError where no type suits both."""
        self._bench, self._wishes = bench, wishes
        profile = pillm.device(bench.device)
        self._device, self._thrifty = profile.name, False
        self._sizer = Sizer(bench.full)
        try:
            self.matrices = self._quantisable()
            columns = sorted({matrix.columns for matrix in self.matrices})
            self.quants = candidates.quantisations(profile, columns)
            if not self.quants:
                raise pillm.ConfigError(
                    f"no quantisation suits both {profile.name} and rows of {', '.join(map(str, columns))} weights. "
                    "Name the quants yourself."
                )
            self._tuning = Tuning(bench, self.matrices, profile, wishes.probes)
        except BaseException:
            self._sizer.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._sizer.close()

    def forecast(self) -> Forecast:
        """Return what the search will take; raise GateError where arithmetic shows that nothing keeps to the limits."""
        limits = self._wishes.limits
        sizes = [self._planned(self._types_of(quant)).bytes for quant in self._within_limits()]
        tuning = self._tuning.files if self._wishes.probes else 0
        return forecast(self.matrices, sizes, self._bench.full.stat().st_size, tuning, fitted=limits.has_budget)

    def run(self, *, thrifty: bool = False) -> Choice:
        """Try, search and choose; raise GateError where no file keeps to the limits.

        A `thrifty` search keeps no file: the few that are scored and shipped are made twice.
        """
        bench, wishes, self._thrifty = self._bench, self._wishes, thrifty
        asked, files = self._within_limits(), self.forecast().files
        bench.progress.start(files, unit="files", message=f"choosing a quantisation for {self._device}")
        bench.timed = Pace(max(1, files - len(bench.ledger)), bench.progress)
        self._tuning.settle()
        plain = self._tried([Mix(name=quant, quant=quant, imatrix=True) for quant in asked])
        trials = [*plain, *self._tuned(plain)] if wishes.probes else plain
        shown = {trial.name for trial in front(trials)}
        whole = bench.whole()
        # a file that another beats in size, speed and divergence is not asked: nothing could make it the pick
        every = [whole, *(self._scored(trial) if trial.name in shown else trial for trial in trials)]
        picked, reason = pick(every, wishes.limits, wishes.weights, self._device, bench.basis)
        bench.progress.note(reason)
        return Choice(
            trials=tuple(every), front=tuple(front(every)), picked=picked, reason=reason, device=self._device,
            basis=bench.basis, decisions=tuple(self._tuning.decisions),
        )  # fmt: skip

    def _scored(self, trial: Trial) -> Trial:
        scored = self._bench.scored(trial)
        if self._thrifty:
            self._bench.drop(trial.name)
        return scored

    def _quantisable(self) -> tuple[Matrix, ...]:
        names = {name for name, type_ in self._types_of(BASE).items() if type_ == BASE}
        return tuple(
            Matrix(name=tensor.name, columns=int(tensor.shape[0]), weights=int(tensor.n_elements))
            for tensor in GGUFReader(os.fspath(self._bench.full)).tensors
            if tensor.name in names
        )

    def _within_limits(self) -> list[str]:
        """Return the quantisations that keep to the budget by arithmetic; the smallest alone where only a searched file may.

        Raises GateError where nothing can: no file needs to be made to know that.
        """
        found = [quant for quant in self.quants if not self._misses(self._types_of(quant))]
        if found:
            return found
        smallest = min(self.quants, key=lambda quant: self._planned(self._types_of(quant)).bytes)
        least = self._tuning.smallest if self._wishes.probes else self._types_of(smallest)
        if missed := self._misses(least):
            raise pillm.GateError(
                f"no quantisation for {self._device} keeps to the limits, the smallest one neither: "
                f"{'; '.join(missed)}. Loosen them, choose a smaller student, or name the quants yourself."
            )
        return [smallest]

    def _types_of(self, quant: str) -> dict[str, str]:
        return {one.name: one.type for one in self._sizer.size(quant, imatrix=self._bench.imatrix).tensors}

    def _planned(self, types: Mapping[str, str]) -> pillm.Plan:
        return pillm.plan(self._bench.full, self._bench.device, types=types)

    def _misses(self, types: Mapping[str, str]) -> list[str]:
        planned = self._planned(types)
        return self._wishes.limits.misses_device(planned.bytes, memory(planned), planned.tg_tps)

    def _tried(self, mixes: Sequence[Mix]) -> list[Trial]:
        """Return what each mix costs; the files that another beats are removed at once, since they may be large."""
        trials: list[Trial] = []
        for mix in mixes:
            trials.append(self._bench.tried(mix))
            standing = {trial.name for trial in front(trials)}
            for trial in trials:
                if self._thrifty or trial.name not in standing:
                    self._bench.drop(trial.name)
        return trials

    def _tuned(self, plain: Sequence[Trial]) -> list[Trial]:
        """Return the files of searched types that lose less than llama.cpp's mix of their size, each after measuring."""
        allocations = self._tuning.allocations()
        found = []
        for trial in front(plain):
            types = self._types_of(trial.quant)
            chosen = allocations.within(sum(candidates.stored(types[one.name], one.weights) for one in self.matrices))
            if chosen is None or self._misses(chosen):
                continue
            better = self._bench.tried(self._mix(trial.quant + TUNED, trial.quant, chosen))
            helps = self._bench.found[trial.name].better(self._bench.found[better.name])
            if helps and better.bytes <= trial.bytes:
                found.append(better)
            if self._thrifty or not helps:
                self._bench.drop(better.name)
        fitted = self._fitted(allocations, plain)
        return [*found, fitted] if fitted is not None else found

    def _fitted(self, allocations: Allocations, plain: Sequence[Trial]) -> Trial | None:
        """Return a file that uses the whole budget, where there is one: no plain size need come near it."""
        limits = self._wishes.limits
        if not limits.has_budget:
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
        fitted = self._bench.tried(self._mix(nearest + FITTED, nearest, best))
        if self._thrifty:
            self._bench.drop(fitted.name)
        return fitted

    @staticmethod
    def _mix(name: str, quant: str, types: Mapping[str, str]) -> Mix:
        return Mix(name=name, quant=quant, types=types, imatrix=True, rounded=True)
