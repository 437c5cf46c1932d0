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
from pillm_llamacpp.choosing.grids import decoded
from pillm_llamacpp.choosing.losses import Matrix, groups, priced, product_error, spread
from pillm_llamacpp.choosing.trials import Bench, Mix

_HEAD, _EMBEDDING = "output.weight", "token_embd.weight"
BASE, UNTOUCHED, ANCHOR = "Q8_0", "F16", "Q4_0"


class Tuning:
    """The tensors of a full file that can be quantised, and what is known of their losses."""

    def __init__(self, bench: Bench, matrices: tuple[Matrix, ...], profile: pillm.DeviceProfile, probes: int) -> None:
        """Measure with `bench`; `probes` is how many groups of tensors get a file of their own."""
        self._bench, self.matrices = bench, matrices
        self._types = {one.name: candidates.tensor_types(profile, one.columns) for one in matrices}
        self.grouped = groups(matrices, probes) if probes else []

    @property
    def files(self) -> int:
        """Return how many files are made and measured at the most."""
        return len(self.grouped) + len({type_ for types in self._types.values() for type_ in types}) + 4

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
        last = bench.divergence(Mix(name="plain", quant=BASE, types=types))
        if bench.imatrix is not None:
            weighed = bench.divergence(Mix(name="weighed", quant=BASE, types=types, imatrix=True))
            self._say("the importance matrix", last, weighed)
            if weighed < last:
                last = weighed
            else:
                bench.imatrix = None
        if bench.moments is not None:
            rounded = self._rounded(types)
            self._say("rounding with the activations in mind", last, rounded)
            bench.rounds = rounded < last

    def _rounded(self, types: Mapping[str, str]) -> float:
        """Return the divergence with rounding; a tied embedding is left out of it where that is better.

        Its rows are inputs too, and feel every error.
        """
        bench, found = self._bench, {}
        for skipped in ((), (_EMBEDDING,)) if _HEAD not in types else ((),):
            bench.skipped = frozenset(skipped)
            found[bench.skipped] = bench.divergence(Mix(name="rounded", quant=BASE, types=types, imatrix=True, rounded=True))
        bench.skipped = min(found, key=lambda names: found[names])
        return found[bench.skipped]

    def _say(self, what: str, before: float, after: float) -> None:
        verdict = "is used" if after < before else "is dropped"
        self._bench.progress.note(
            f"{what} takes the divergence of a 4-bit file from {before:.3g} to {after:.3g} nats, so it {verdict}."
        )

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
