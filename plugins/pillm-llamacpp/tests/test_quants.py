from __future__ import annotations

from pathlib import Path

import pytest
from pillm_llamacpp.quantizing.quantization import quantize
from pillm_llamacpp.quantizing.quants import FTYPES, NEED_IMATRIX, canonical
from pillm_llamacpp.runner import LocalRunner
from pillm_llamacpp_tiny import request

import pillm
from pillm.devices.quants import find_quant
from pillm.devices.shapes import shape_of

QUANTISED = [quant for quant in FTYPES if quant not in ("F16", "F32", "BF16", "MXFP4_MOE")]


@pytest.mark.parametrize("quant", QUANTISED)
def test_every_type_that_is_accepted_can_be_made_and_answers(
    exported: dict[str, pillm.ModelFile], tmp_path: Path, quant: str
) -> None:
    target = tmp_path / f"{quant}.gguf"
    types = quantize(exported["F16"].path, target, quant, threads=1, progress=pillm.Progress())
    assert sum(types.values()) == sum(exported["F16"].types.values())
    stem = quant if quant in types else quant.rpartition("_")[0]
    assert any(kind.startswith(stem) for kind in types)
    planned, made = shape_of(exported["F16"].path).quantised(quant), shape_of(target)
    assert {one.name: one.type for one in planned.tensors} == {one.name: one.type for one in made.tensors}
    with LocalRunner(max_tokens=2).open(pillm.ModelFile.of(target, quant)) as session:
        ((_, answer),) = session.answer(iter([request()]))
    assert isinstance(answer, pillm.Answer)


@pytest.mark.parametrize("quant", NEED_IMATRIX)
def test_every_type_that_needs_an_importance_matrix_is_refused(quant: str) -> None:
    with pytest.raises(ValueError, match="needs an importance matrix"):
        canonical(quant)


def test_the_size_of_every_quantisation_that_can_be_made_is_known_beforehand() -> None:
    for quant in FTYPES:
        assert find_quant(quant) == quant
