"""What each tensor loses in each storage type: the error of its product with the activations, priced by real files.

The error of a tensor in a type is arithmetic: the squared difference of its products, from the activations' moments, from
an importance matrix, or from the weights alone where there is neither. What such an error costs is measured: a file in
which nothing but a group of tensors is quantised is made, and its divergence is shared among them by their errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pillm_llamacpp.choosing.allocation import Option, Part
from pillm_llamacpp.choosing.candidates import stored

Errors = Mapping[str, Mapping[str, float]]
"""Tensor -> type -> error of its product."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """A tensor that can be quantised: its name and how many columns and weights it has."""

    name: str
    columns: int
    weights: int


def product_error(
    difference: NDArray[np.float32], moments: Sequence[NDArray[np.float32]] = (), energy: NDArray[np.float32] | None = None
) -> float:
    """Return the mean squared error of a product, from the weights' differences (rows, columns).

    `moments` are blocks along the diagonal of the activations' mean products, `energy` that diagonal alone.
    """
    if len(moments):
        total, begin = 0.0, 0
        for block in moments:
            part = difference[:, begin : begin + len(block)]
            total += float(np.einsum("rc,rc->", part @ block, part, dtype=np.float64))
            begin += len(block)
        return max(total, 0.0)
    squares = np.square(difference, dtype=np.float64)
    return float((squares * energy).sum() if energy is not None else squares.sum())


def spread(energy: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return an importance matrix's means as rows of a weight (rows, columns): a mixture's experts have each their own."""
    experts = energy.reshape(-1, shape[1])
    return np.repeat(experts, shape[0] // len(experts), axis=0) if len(experts) > 1 else experts[0]


def groups(matrices: Sequence[Matrix], most: int) -> list[tuple[Matrix, ...]]:
    """Return at most so many groups of tensors: each alone if there is room, else neighbours in depth of the same part.

    Head and embedding stand alone, and no group mixes parts of a layer, since a query is no feed-forward.
    """
    by_part: dict[str, list[Matrix]] = {}
    for matrix in matrices:
        by_part.setdefault(_part(matrix.name), []).append(matrix)
    room = max(most, len(by_part))
    size = 1
    while sum(-(-len(found) // size) for found in by_part.values()) > room:
        size += 1
    return [tuple(found[at : at + size]) for found in by_part.values() for at in range(0, len(found), size)]


def _part(name: str) -> str:
    return name.split(".", 2)[2] if name.startswith("blk.") else name


def priced(
    grouped: Sequence[Sequence[Matrix]],
    errors: Errors,
    anchor: Callable[[int], str],
    measure: Callable[[Mapping[str, str]], float],
) -> list[Part]:
    """Return the parts of an allocation: for each tensor its types, with the divergence that each is expected to cost.

    `anchor` names the type that tensors with so many columns are measured in, `measure` returns the divergence of a file
    in which only the tensors that it is given, by name, are quantised, each to its type.
    """
    parts = []
    for group in grouped:
        types = {matrix.name: anchor(matrix.columns) for matrix in group}
        cost = measure(types)
        total = sum(errors[name][type_] for name, type_ in types.items())
        price = cost / total if total > 0 else 0.0
        for matrix in group:
            options = [
                Option(type=type_, bytes=stored(type_, matrix.weights), loss=price * error)
                for type_, error in errors[matrix.name].items()
            ]
            parts.append(Part(name=matrix.name, options=tuple(options)))
    return parts
