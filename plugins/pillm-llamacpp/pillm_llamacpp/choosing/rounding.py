"""Choose a quantised tensor's codes anew, each with the errors of the others in mind, its scales staying as they are.

llama.cpp rounds each weight by itself. What counts is the error of the product with the activations, and there the error
of one weight can be made good by another's: columns are rounded one after the other, and each error is carried over to
the columns that are still to come, as far as they go together in the activations (GPTQ, arXiv 2210.17323). The file is an
ordinary one, of the same types and size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pillm_llamacpp.choosing.grids import Grid

DAMPING = 0.01
"""Share of the mean that is added to the diagonal: activations of few texts do not span every direction."""
_PANEL = 64


def rounded(
    weights: NDArray[np.float32], type_: str, data: NDArray[np.uint8], moments: Sequence[NDArray[np.float32]]
) -> NDArray[np.uint8]:
    """Return a tensor's bytes with its codes chosen anew.

    `weights` (rows, columns) are what it should hold, `data` the quantised rows, `moments` the mean products of the
    activations: square blocks along the diagonal, which together cover the columns.
    """
    grid = Grid(type_, data)
    codes = np.zeros(weights.shape, np.uint8)
    begin = 0
    for block in moments:
        end = begin + len(block)
        codes[:, begin:end] = _codes(weights[:, begin:end], grid, begin, np.asarray(block, np.float64))
        begin = end
    if begin != weights.shape[1]:
        raise ValueError(f"the moments cover {begin} of {weights.shape[1]} columns")
    return grid.packed(codes)


def _codes(weights: NDArray[np.float32], grid: Grid, first: int, moment: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the codes of some columns, of which `first` is the first in the tensor.

    Columns are rounded in order, the weightiest first, and each error is carried over to those still to come.
    """
    moment = moment + np.eye(len(moment)) * (DAMPING * (np.trace(moment) / len(moment)) or 1.0)
    order = np.argsort(-np.diag(moment), kind="stable")
    inverse = np.linalg.inv(moment[np.ix_(order, order)])
    factor = np.linalg.cholesky(inverse).T.astype(np.float32)  # upper: row j says where the error of column j goes
    rest, codes = weights[:, order].copy(), np.zeros(weights.shape, np.uint8)
    for begin in range(0, len(order), _PANEL):
        end = min(begin + _PANEL, len(order))
        errors = np.zeros((len(rest), end - begin), np.float32)
        for place in range(begin, end):
            column = order[place]
            codes[:, column], held = grid.nearest(first + int(column), rest[:, place])
            errors[:, place - begin] = (rest[:, place] - held) / factor[place, place]
            rest[:, place:end] -= np.outer(errors[:, place - begin], factor[place, place:end])
        rest[:, end:] -= errors @ factor[begin:end, end:]
    return codes
