"""A quantised file is rounded anew in place."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from pillm_llamacpp.choosing import moments
from pillm_llamacpp.choosing.grids import decoded
from pillm_llamacpp.choosing.losses import product_error
from pillm_llamacpp.choosing.polishing import polish
from pillm_llamacpp_tiny import conversations

import pillm

QUIET = pillm.Progress()


@pytest.fixture(scope="module")
def seen(exported: dict[str, pillm.ModelFile], tmp_path_factory: pytest.TempPathFactory) -> moments.Moments:
    folder = tmp_path_factory.mktemp("moments")
    return moments.gather(exported["F16"].path, conversations()[1::2], threads=1, folder=folder, progress=QUIET)


@pytest.mark.parametrize("quant", ["Q4_K_M", "IQ4_NL"])
def test_it_keeps_size_types_and_metadata_and_loses_less(
    quant: str, exported: dict[str, pillm.ModelFile], seen: moments.Moments, tmp_path: Path
) -> None:
    full, plain = exported["F16"].path, exported[quant].path
    better = shutil.copyfile(plain, tmp_path / "better.gguf")
    assert polish(full, better, seen, ["token_embd.weight"]) == 14, "seven weights in each of two layers"
    assert better.stat().st_size == plain.stat().st_size
    whole, before, after = (GGUFReader(path) for path in (full, plain, better))
    assert [(one.name, one.tensor_type) for one in before.tensors] == [(one.name, one.tensor_type) for one in after.tensors]
    assert {name: field.contents() for name, field in before.fields.items()} == {
        name: field.contents() for name, field in after.fields.items()
    }
    held = {tensor.name: tensor for tensor in whole.tensors}
    for one, other in zip(before.tensors, after.tensors, strict=True):
        full_one, blocks = held[one.name], seen.blocks(one.name)
        if not blocks or one.name == "token_embd.weight":
            np.testing.assert_array_equal(one.data, other.data)
            continue
        weights = decoded(full_one.tensor_type.name, np.asarray(full_one.data))
        errors = [product_error(weights - decoded(t.tensor_type.name, np.asarray(t.data)), blocks) for t in (one, other)]
        assert errors[1] < errors[0]


def test_a_file_that_was_made_of_another_is_refused(
    exported: dict[str, pillm.ModelFile], seen: moments.Moments, tmp_path: Path
) -> None:
    copy = shutil.copyfile(exported["Q8_0"].path, tmp_path / "a.gguf")
    other = tmp_path / "other.gguf"
    shutil.copyfile(exported["F16"].path, other)
    data = other.read_bytes().replace(b"blk.0.attn_q.weight", b"blk.7.attn_q.weight")
    other.write_bytes(data)
    with pytest.raises(pillm.DataError, match=r"a\.gguf was not made of other\.gguf: they differ in blk\.0\.attn_q\.weight"):
        polish(other, copy, seen)
