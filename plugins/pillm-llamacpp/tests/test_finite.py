from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from pillm_llamacpp.converting.conversion import Converted
from pillm_llamacpp.gates.checks import Findings
from pillm_llamacpp.gates.finite import check_finite
from pillm_llamacpp.workers.client import Worker

import pillm

Proof = tuple[Path, Converted, Findings]


def spoilt(proof: Proof, tmp_path: Path, values: dict[str, float]) -> Path:
    """Return a copy of the file in which the last number of some tensors is another."""
    path = Path(shutil.copyfile(proof[0], tmp_path / "spoilt-F16.gguf"))
    tensors = {tensor.name: tensor for tensor in GGUFReader(path, "r+").tensors}
    for name, value in values.items():
        tensors[name].data.reshape(-1)[-1] = value
    return path


def check(path: Path) -> None:
    with Worker("a test") as worker:
        check_finite(worker, path)


def test_a_file_whose_weights_are_numbers_passes(proof: Proof) -> None:
    check(proof[0])


def test_tensors_that_hold_nan_are_named_and_counted(proof: Proof, tmp_path: Path) -> None:
    path = spoilt(proof, tmp_path, {"blk.1.attn_q.weight": np.nan, "output_norm.weight": np.nan})
    with pytest.raises(pillm.DataError, match=r"2 tensors .*blk\.1\.attn_q\.weight \(1 NaN\).* The checkpoint itself holds"):
        check(path)


def test_weights_too_large_for_16_bit_are_told_apart_from_broken_ones(proof: Proof, tmp_path: Path) -> None:
    with pytest.raises(pillm.DataError, match=r"token_embd\.weight \(1 infinite\).* add BF16 to `quants`"):
        check(spoilt(proof, tmp_path, {"token_embd.weight": -np.inf}))
