"""The activations' mean products, gathered from a model file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pillm_llamacpp.choosing import moments
from pillm_llamacpp.quantizing.imatrix import gather
from pillm_llamacpp_tiny import conversations

import pillm

TEXTS = conversations()[:6]
QUIET = pillm.Progress()


@pytest.fixture(scope="module")
def found(exported: dict[str, pillm.ModelFile], tmp_path_factory: pytest.TempPathFactory) -> moments.Moments:
    return moments.gather(exported["F16"].path, TEXTS, threads=1, folder=tmp_path_factory.mktemp("moments"), progress=QUIET)


def test_every_weight_has_a_square_and_those_with_one_input_share_it(found: moments.Moments) -> None:
    parts = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    names = {f"blk.{layer}.{part}.weight" for layer in range(2) for part in parts}
    assert set(found.files) == {*names, "token_embd.weight"}, "the tied head goes by the embedding's name"
    assert found.files["blk.0.attn_q.weight"] == found.files["blk.0.attn_v.weight"]
    assert found.files["blk.0.ffn_gate.weight"] == found.files["blk.0.ffn_up.weight"] != found.files["blk.0.attn_q.weight"]
    for name in found.files:
        (block,) = found.blocks(name)
        assert block.shape == (256, 256)
        np.testing.assert_allclose(block, block.T, rtol=1e-3, atol=1e-4)
        assert np.linalg.eigvalsh(block.astype(np.float64)).min() > -1e-3 * np.trace(block)


def test_the_diagonal_is_the_importance_matrix(found: moments.Moments, exported: dict[str, pillm.ModelFile]) -> None:
    weights = gather(exported["F16"].path, TEXTS, threads=1, progress=QUIET, head=True)
    assert set(weights.tensors) == set(found.files)
    for name in weights.tensors:
        np.testing.assert_allclose(np.diag(found.blocks(name)[0]), weights.means(name), rtol=2e-3, atol=1e-6)


def test_a_weight_that_was_not_gathered_has_none(found: moments.Moments) -> None:
    assert found.blocks("blk.9.attn_q.weight") == []


def test_wide_weights_have_several_blocks(
    exported: dict[str, pillm.ModelFile], found: moments.Moments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moments, "BLOCK", 100)
    narrow = moments.gather(exported["F16"].path, TEXTS, threads=1, folder=tmp_path, progress=QUIET)
    blocks = narrow.blocks("blk.0.ffn_down.weight")
    assert [len(block) for block in blocks] == [100, 100, 56]
    whole = found.blocks("blk.0.ffn_down.weight")[0]
    np.testing.assert_allclose(blocks[1], whole[100:200, 100:200], rtol=1e-3, atol=1e-5)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(pillm.PillmError, match=r"activations of no\.gguf"):
        moments.gather(tmp_path / "no.gguf", TEXTS, threads=1, folder=tmp_path / "out", progress=QUIET)


def test_what_was_gathered_is_read_again(found: moments.Moments) -> None:
    folder = next(iter(found.files.values())).parent
    assert moments.Moments.read(folder) == found
