from __future__ import annotations

from pathlib import Path

import pytest
from pillm_llamacpp.quantizing.imatrix import Imatrix, gather
from pillm_llamacpp.quantizing.quantization import quantize
from pillm_llamacpp.quantizing.quants import FTYPES, NEED_IMATRIX, UNWEIGHTED, canonical, needing_imatrix
from pillm_llamacpp.runner import LocalRunner
from pillm_llamacpp_tiny import conversations, request

import pillm
from pillm.devices.quants import find_quant
from pillm.devices.shapes import shape_of

FAST = ("Q2_K_S",)
USUAL = ("Q8_0", "Q4_0", "IQ4_NL", "IQ3_M", "TQ1_0")  # one of each way to store weights
QUANTISED = [quant for quant in FTYPES if quant not in ("F16", "F32", "BF16", "MXFP4_MOE")]


@pytest.mark.parametrize("quant", [pytest.param(one, marks=() if one in USUAL else pytest.mark.full) for one in QUANTISED])
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


def test_every_type_that_needs_an_importance_matrix_is_known_by_name() -> None:
    assert [canonical(quant.lower()) for quant in NEED_IMATRIX] == list(NEED_IMATRIX)
    assert needing_imatrix(["Q4_0", *NEED_IMATRIX[:2]]) == (
        "the types Q2_K_S, IQ3_XS need an importance matrix; the smallest types that need none are IQ3_S and Q2_K"
    )
    assert needing_imatrix(["Q4_0", "F16"]) is None


@pytest.fixture(scope="module")
def imatrix(exported: dict[str, pillm.ModelFile]) -> Imatrix:
    return gather(exported["F16"].path, conversations(8), threads=1, progress=pillm.Progress())


# llama.cpp prepares its tables of the smallest types for seconds
@pytest.mark.parametrize(
    "quant", [pytest.param(quant, marks=[] if quant in FAST else [pytest.mark.full]) for quant in NEED_IMATRIX]
)
def test_every_type_that_needs_an_importance_matrix_is_made_with_one(
    exported: dict[str, pillm.ModelFile], imatrix: Imatrix, tmp_path: Path, quant: str
) -> None:
    full, target = exported["F16"].path, tmp_path / f"{quant}.gguf"
    quantize(full, target, quant, threads=1, progress=pillm.Progress(), imatrix=imatrix)
    assert target.stat().st_size < exported["Q4_K_M"].bytes
    with pytest.raises(pillm.BackendError, match=r"imatrix|importance matrix"):
        quantize(full, tmp_path / "none.gguf", quant, threads=1, progress=pillm.Progress())


@pytest.mark.parametrize(
    "quant",
    [pytest.param(one, marks=() if one in USUAL else pytest.mark.full) for one in sorted(UNWEIGHTED - {"F16", "MXFP4_MOE"})],
)
def test_the_types_that_an_importance_matrix_does_not_change_are_known(
    exported: dict[str, pillm.ModelFile], imatrix: Imatrix, tmp_path: Path, quant: str
) -> None:
    files = []
    for number, weights in enumerate((None, imatrix)):
        path = tmp_path / f"{number}.gguf"
        quantize(exported["F16"].path, path, quant, threads=1, progress=pillm.Progress(), imatrix=weights)
        size = sum(-(-tensor.bytes // 32) * 32 for tensor in shape_of(path).tensors)
        files.append(path.read_bytes()[-size:])
    assert files[0] == files[1]


def test_the_size_of_every_quantisation_that_can_be_made_is_known_beforehand() -> None:
    for quant in FTYPES:
        assert find_quant(quant) == quant
