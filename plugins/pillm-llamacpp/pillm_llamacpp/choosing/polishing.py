"""Round a quantised file's weights anew, in place: see `rounding`."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import numpy as np
from gguf import GGUFReader

import pillm
from pillm_llamacpp.choosing.grids import FIELDS, decoded
from pillm_llamacpp.choosing.moments import Moments
from pillm_llamacpp.choosing.rounding import rounded


def polish(full: Path, quantised: Path, moments: Moments, skipped: Collection[str] = ()) -> int:
    """Choose the codes of a quantised file anew; return of how many tensors.

    `full` is the file it was made of. Tensors that are skipped, without moments, or of a type whose codes are not known,
    stay as they are.
    Raises DataError where the two files do not hold the same tensors.
    """
    whole = {tensor.name: tensor for tensor in GGUFReader(os.fspath(full)).tensors}
    reader, count = GGUFReader(os.fspath(quantised), "r+"), 0
    for tensor in reader.tensors:
        blocks, type_ = moments.blocks(tensor.name), tensor.tensor_type.name
        if not blocks or type_ not in FIELDS or tensor.name in skipped:
            continue
        if tensor.name not in whole or list(whole[tensor.name].shape) != list(tensor.shape):
            raise pillm.DataError(f"{quantised.name} was not made of {full.name}: they differ in {tensor.name}.")
        weights = decoded(whole[tensor.name].tensor_type.name, np.asarray(whole[tensor.name].data))
        tensor.data[:] = rounded(weights, type_, np.array(tensor.data), blocks)
        count += 1
    reader.data.flush()
    return count
