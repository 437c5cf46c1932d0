"""What a quantisation weighs is known before it is made, to the byte."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pillm_llamacpp.measuring.sizes import Sizer, dry_size
from pillm_llamacpp.quantizing.imatrix import Imatrix, gather
from pillm_llamacpp.quantizing.quantization import quantize
from pillm_llamacpp.quantizing.quants import ALL_FTYPES
from pillm_llamacpp_tiny import conversations, write_model

import pillm
from pillm.devices.shapes import shape_of

QUIET = pillm.Progress()
MADE = [quant for quant in ALL_FTYPES if quant != "MXFP4_MOE"]


@pytest.fixture(scope="module")
def imatrix(exported: dict[str, pillm.ModelFile]) -> Imatrix:
    return gather(exported["F16"].path, conversations(8), threads=1, progress=QUIET, datasets=["a test"])


@pytest.fixture(scope="module")
def sizer(exported: dict[str, pillm.ModelFile]) -> Sizer:
    with Sizer(exported["F16"].path) as made:
        yield made


@pytest.mark.parametrize("quant", ["F32", "Q8_0", "Q4_K_M", "Q4_0", "IQ4_NL", "Q3_K_L", "Q2_K_S", "TQ1_0"])
def test_the_size_is_that_of_the_file_to_the_byte(
    sizer: Sizer, imatrix: Imatrix, exported: dict[str, pillm.ModelFile], tmp_path: Path, quant: str
) -> None:
    for weights in (imatrix,) if quant == "Q2_K_S" else (None, imatrix):
        types = quantize(exported["F16"].path, tmp_path / "a.gguf", quant, threads=1, progress=QUIET, imatrix=weights)
        found = sizer.size(quant, imatrix=weights)
        assert found.bytes == (tmp_path / "a.gguf").stat().st_size
        assert found.types == types
        made = {one.name: (one.type, one.bytes) for one in shape_of(tmp_path / "a.gguf").tensors}
        assert {one.name: (one.type, one.bytes) for one in found.tensors} == made


def test_types_of_ones_own_are_in_the_size(sizer: Sizer, exported: dict[str, pillm.ModelFile], tmp_path: Path) -> None:
    told = {"types": {r"ffn_(up|gate)": "Q5_K", r"^blk\.0\.": "Q6_K"}, "output_type": "IQ4_XS"}
    quantize(exported["F16"].path, tmp_path / "a.gguf", "Q4_0", threads=1, progress=QUIET, **told)
    found = sizer.size("Q4_0", **told)
    assert found.bytes == (tmp_path / "a.gguf").stat().st_size
    types = {one.name: one.type for one in found.tensors}
    assert types["token_embd.weight"] == "IQ4_XS"
    assert types["blk.0.ffn_up.weight"] == types["blk.1.ffn_gate.weight"] == "Q5_K"
    assert types["blk.0.attn_q.weight"] == "Q6_K"
    assert types["blk.1.attn_q.weight"] == "Q4_0"


def test_whether_there_is_an_importance_matrix_changes_the_mix(sizer: Sizer) -> None:
    assert sizer.size("Q2_K_S", imatrix=True).types != sizer.size("Q4_0").types
    with_it, without = sizer.size("IQ3_XXS", imatrix=True), sizer.size("IQ3_XXS")
    assert with_it.types["IQ3_XXS"] > without.types["IQ3_XXS"]


def test_every_quantisation_is_sized_in_milliseconds(sizer: Sizer) -> None:
    began = time.perf_counter()
    sizes = {quant: sizer.size(quant, imatrix=True).bytes for quant in MADE}
    assert (time.perf_counter() - began) / len(MADE) < 0.1
    assert sizes["Q8_0"] > sizes["Q6_K"] > sizes["Q4_K_M"] > sizes["IQ2_XXS"]


@pytest.mark.full
def test_narrow_rows_are_sized_with_what_they_fall_back_to(tmp_path: Path) -> None:
    made = write_model(tmp_path / "narrow", hidden=96, probes=False, layers=1)
    (model,) = pillm.exporter("gguf", quants=["F16"]).export(made, tmp_path / "out", QUIET)
    types = quantize(model.path, tmp_path / "a.gguf", "Q4_K_M", threads=1, progress=QUIET, output_type="Q6_K")
    found = dry_size(model.path, "Q4_K_M", output_type="Q6_K")
    assert (found.bytes, found.types) == ((tmp_path / "a.gguf").stat().st_size, types)
    assert {one.name: one.type for one in found.tensors}["token_embd.weight"] == "Q8_0"


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"types": {"ffn": "Q9_Z"}}, "'Q9_Z' is no storage type of llama.cpp. Known: F32, F16"),
        ({"types": {"ffn(": "Q4_K"}}, "'ffn\\(' is no pattern"),
        ({"output_type": "Q4"}, "'Q4' is no storage type"),
    ],
)
def test_a_type_or_pattern_that_is_none_is_refused(sizer: Sizer, told: dict[str, object], message: str) -> None:
    with pytest.raises(pillm.ConfigError, match=message):
        sizer.size("Q4_0", **told)


def test_a_quantisation_that_is_none_is_refused(sizer: Sizer) -> None:
    with pytest.raises(pillm.ConfigError, match="'Q4' is no quantisation"):
        sizer.size("Q4")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(pillm.DataError, match=r"no\.gguf is not a file"):
        dry_size(tmp_path / "no.gguf", "Q4_0")
