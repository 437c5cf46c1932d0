"""Architectures times tokenizers: tokens equal, logits within the bound, every file loads and answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pillm_llamacpp.exporter import GGUFExporter
from pillm_llamacpp.gates.strings import HARD_STRINGS, NOT_FOR_WORD_PIECE
from pillm_llamacpp.quantizing.quants import FTYPES
from pillm_llamacpp_zoo import ANIMALS, build

import pillm


def exported(name: str, tmp_path: Path, *quants: str) -> list[pillm.ModelFile]:
    exporter = GGUFExporter(quants=quants, fallback="allow", threads=1)
    return list(exporter.export(build(name, tmp_path), tmp_path / "out", pillm.Progress()))


@pytest.mark.full
@pytest.mark.parametrize("name", ANIMALS)
def test_tokens_and_numbers_are_those_of_the_checkpoint_and_every_file_answers(name: str, tmp_path: Path) -> None:
    full, *others = exported(name, tmp_path, "F16", "Q8_0", "Q4_K_M")
    left_out = len(NOT_FOR_WORD_PIECE) if name.startswith("bert") else 0
    assert full.parity == pillm.Parity(rows=len(HARD_STRINGS) - left_out, mismatches=0)
    near = full.agreement
    assert near
    if "bert" in name:
        assert near.cosine is not None
        assert near.cosine > 0.9999
        assert near.largest < 2e-3
        assert json.loads((tmp_path / "out" / "card.json").read_text())["purpose"] == "feature-extraction"
        assert not (tmp_path / "out" / "Modelfile").exists(), "it answers nothing"
    else:
        assert near.top1 is not None
        assert near.kld is not None
        assert near.places > 100
        assert near.largest < 2e-2
        assert near.top1 + near.ties / near.places > 0.999
        assert near.kld < 1e-4
    assert len(others) == 2
    for other in others:  # a file that did not answer would have no agreement, and no name
        assert other.agreement
        assert other.path.is_file()


@pytest.mark.full
def test_every_quantisation_loads_and_answers(tmp_path: Path) -> None:
    made = exported("llama-gpt2", tmp_path, *(name for name in FTYPES if name != "MXFP4_MOE"))
    assert len(made) == len(FTYPES) - 1
    assert all(model.agreement and model.agreement.kld is not None for model in made)
    by_kld = {model.quant: model.agreement.kld for model in made if model.agreement}
    assert by_kld["F32"] < by_kld["Q8_0"] < by_kld["Q4_K_M"] < by_kld["Q2_K"]
