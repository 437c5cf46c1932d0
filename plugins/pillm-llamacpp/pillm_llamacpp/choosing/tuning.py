"""Measure what each tensor loses in each type, so that bytes can be given where they count: see `losses` and `allocation`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from gguf import GGUFReader

import pillm
from pillm_llamacpp.choosing import candidates
from pillm_llamacpp.choosing.allocation import Allocations
from pillm_llamacpp.choosing.forecast import SETTLING
from pillm_llamacpp.choosing.grids import decoded
from pillm_llamacpp.choosing.losses import Matrix, groups, priced, product_error, spread
from pillm_llamacpp.choosing.trials import Bench, Mix
from pillm_llamacpp.measuring.divergence import Compared

_HEAD, _EMBEDDING = "output.weight", "token_embd.weight"
BASE, UNTOUCHED, ANCHOR = "Q8_0", "F16", "Q4_0"


class Tuning:
    """The tensors of a full file that can be quantised, and what is known of their losses."""

    def __init__(self, bench: Bench, matrices: tuple[Matrix, ...], profile: pillm.DeviceProfile, probes: int) -> None:
        """Measure with `bench`; `probes` is how many groups of tensors get a file of their own."""
        self._bench, self.matrices = bench, matrices
        self._types = {one.name: candidates.tensor_types(profile, one.columns) for one in matrices}
        self.grouped = groups(matrices, probes) if probes else []
        self.decisions: list[dict[str, Any]] = []
        """What was settled before the search: what was tried, whether it is used, and the paired difference that says so."""

    @property
    def files(self) -> int:
        """Return how many files are made and measured at the most."""
        return len(self.grouped) + len({type_ for types in self._types.values() for type_ in types}) + SETTLING

    @property
    def smallest(self) -> dict[str, str]:
        """Return the smallest type of each tensor."""
        return {name: types[0] for name, types in self._types.items()}

    def allocations(self) -> Allocations:
        """Return the best types for every budget, by what was measured."""
        return Allocations(priced(self.grouped, self._errors(), self.anchor, self._probe))

    def anchor(self, columns: int) -> str:
        """Return the type that tensors with so many columns are measured in: one of four bits."""
        types = next(self._types[one.name] for one in self.matrices if one.columns == columns)
        return ANCHOR if ANCHOR in types else types[0]

    def settle(self) -> None:
        """Leave out the importance matrix, and the rounding, where a file of four bits is no better for them."""
        bench = self._bench
        types = {one.name: self.anchor(one.columns) for one in self.matrices}
        if bench.imatrix is None and bench.moments is None:
            return
        last = bench.compared(Mix(name="plain", quant=BASE, types=types))
        if bench.imatrix is not None:
            weighed = bench.compared(Mix(name="weighed", quant=BASE, types=types, imatrix=True))
            if self._decided("the importance matrix", last, weighed):
                last = weighed
            else:
                bench.imatrix = None
        if bench.moments is not None:
            bench.rounds = self._decided("rounding with the activations in mind", last, self._rounded(types))

    def _rounded(self, types: Mapping[str, str]) -> Compared:
        """Return the divergence with rounding; a tied embedding is left out of it where that is better beyond chance.

        Its rows are inputs too, and feel every error.
        """
        bench, mix = self._bench, Mix(name="rounded", quant=BASE, types=types, imatrix=True, rounded=True)
        bench.skipped = frozenset()
        every = bench.compared(mix)
        if _HEAD in types:
            return every
        bench.skipped = frozenset({_EMBEDDING})
        most = bench.compared(mix)
        if every.better(most):
            return most
        bench.skipped = frozenset()
        return every

    def _decided(self, what: str, before: Compared, after: Compared) -> bool:
        """Say, and write down, whether something is used: where it lowers the divergence beyond chance."""
        used, change = before.better(after), before.change(after)
        verdict = "is used" if used else "is dropped"
        self._bench.progress.note(f"{what} takes the divergence of a 4-bit file {before.told(after)}, so it {verdict}.")
        self.decisions.append({
            "what": what, "used": used, "before": before.divergence.mean, "after": after.divergence.mean,
            "low": change.low if change else None, "high": change.high if change else None,
            "rows": change.rows if change else 0,
        })  # fmt: skip
        return used

    def _probe(self, types: Mapping[str, str]) -> float:
        """Return the divergence of a file in which only these tensors are quantised."""
        others = {one.name: UNTOUCHED for one in self.matrices if one.name not in types}
        return self._bench.divergence(Mix(name="probe", quant=BASE, types={**others, **types}, imatrix=True, rounded=True))

    def _errors(self) -> dict[str, dict[str, float]]:
        """Return the error of each tensor's product in each type that suits the device, from one file for each type."""
        errors: dict[str, dict[str, float]] = {one.name: {} for one in self.matrices}
        for type_ in dict.fromkeys(type_ for types in self._types.values() for type_ in types):
            wanted = {name: type_ for name, types in self._types.items() if type_ in types}
            for name, error in self._errors_in(type_, wanted):
                errors[name][type_] = error
        return errors

    def _errors_in(self, type_: str, wanted: Mapping[str, str]) -> list[tuple[str, float]]:
        bench = self._bench
        mix = Mix(name=f"all-{type_}", quant=BASE, types=wanted, imatrix=True)
        bench.progress.advance(1)
        known: list[tuple[str, float]] | None = bench.ledger.get("errors", bench.told(mix))
        if known is None:
            known = self._new_errors(mix, wanted)
            bench.ledger.add(known, "errors", bench.told(mix))
        return known

    def _new_errors(self, mix: Mix, wanted: Mapping[str, str]) -> list[tuple[str, float]]:
        bench = self._bench
        try:
            whole = {tensor.name: tensor for tensor in GGUFReader(os.fspath(bench.full)).tensors}
            held = {tensor.name: tensor for tensor in GGUFReader(os.fspath(bench.make(mix))).tensors}
            return [(name, self._error(whole[name], held[name])) for name in wanted]
        finally:
            bench.drop(mix.name)

    def _error(self, whole: Any, held: Any) -> float:
        bench, name = self._bench, str(held.name)
        difference = _weights(whole) - _weights(held)
        difference = difference.reshape(-1, difference.shape[-1])
        energy = None
        if bench.imatrix is not None and name in bench.imatrix.tensors:
            energy = spread(bench.imatrix.means(name), difference.shape)
        return product_error(difference, bench.moments.blocks(name) if bench.moments is not None else (), energy)


def _weights(tensor: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    return decoded(tensor.tensor_type.name, np.asarray(tensor.data))
