"""Embeddings: those of Hugging Face, pooled as the file says, whichever texts share a decode."""

from __future__ import annotations

import json
import math
from itertools import count
from pathlib import Path

import pytest
from pillm_llamacpp.exporter import GGUFExporter
from pillm_llamacpp.process.embedding import Embedder, pooling_of
from pillm_llamacpp.process.serving import Served
from pillm_llamacpp.runner import LocalRunner
from pillm_llamacpp.workers.refusal import Refusal
from pillm_llamacpp_tiny import SENTENCES
from pillm_llamacpp_zoo import build

import pillm

TEXTS = ["Please turn on the kitchen light.", "lumière", "the writing " * 20, "7 pm", "there he was", *SENTENCES[1:2]]


def pooled_by(checkpoint: pillm.Checkpoint, how: str) -> None:
    """Say in a folder how its texts are pooled, as sentence-transformers does."""
    folder = checkpoint.path / "1_Pooling"
    folder.mkdir()
    told = {"word_embedding_dimension": 64, "pooling_mode_cls_token": how == "cls", "pooling_mode_mean_tokens": how == "mean"}
    (folder / "config.json").write_text(json.dumps(told))
    names = ({"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
             {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"})  # fmt: skip
    (checkpoint.path / "modules.json").write_text(json.dumps(names))


def expected(checkpoint: pillm.Checkpoint, how: str) -> list[list[float]]:
    """Return what transformers gives."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(checkpoint.path), AutoModel.from_pretrained(checkpoint.path).eval()
    found = []
    with torch.inference_mode():
        for text in TEXTS:
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
            vector = states[0] if how == "cls" else states.mean(0)
            found.append((vector / vector.norm()).tolist())
    return found


@pytest.mark.full
@pytest.mark.parametrize("how", ["cls", "mean"])
def test_an_encoders_embeddings_are_those_of_hugging_face(how: str, tmp_path: Path) -> None:
    checkpoint = build("bert", tmp_path)
    pooled_by(checkpoint, how)
    (file,) = GGUFExporter(quants=("F16",), threads=1).export(checkpoint, tmp_path / "out", pillm.Progress())
    with LocalRunner().open(file) as session:
        vectors = list(session.embed(TEXTS))
    for mine, theirs in zip(vectors, expected(checkpoint, how), strict=True):
        assert max(abs(a - b) for a, b in zip(mine, theirs, strict=True)) < 1e-3


def test_texts_that_share_a_decode_get_what_they_get_alone(gguf: pillm.ModelFile) -> None:
    with LocalRunner().open(gguf) as session:
        together = list(session.embed(SENTENCES * 5))
        alone = [next(session.embed([text])) for text in SENTENCES]
    assert len(together) == 20
    for number, vector in enumerate(together):
        assert math.sqrt(sum(value * value for value in vector)) == pytest.approx(1.0, abs=1e-6)
        assert vector == pytest.approx(alone[number % 4], abs=1e-3)


def test_texts_are_pulled_a_few_ahead_and_no_more(gguf: pillm.ModelFile) -> None:
    pulled = count()
    with LocalRunner().open(gguf) as session:
        stream = session.embed(f"mot {next(pulled)}" for _ in iter(int, 1))
        for _ in range(3):
            next(stream)
    assert next(pulled) <= 32


def test_a_text_longer_than_the_context_is_refused(gguf: pillm.ModelFile) -> None:
    with LocalRunner(context=64).open(gguf) as session, pytest.raises(pillm.DataError, match="longer than the context of 64"):
        list(session.embed(["Oui", "un mot " * 200]))


def test_a_model_that_ranks_pairs_gives_no_embeddings(gguf: pillm.ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    served = Served(path=str(gguf.path), vocab_only=True)
    assert pooling_of(served) == 1
    meta = served.model.meta
    monkeypatch.setattr(served.model, "meta", lambda key: "4" if key.endswith("pooling_type") else meta(key))
    with pytest.raises(Refusal, match="ranks pairs of texts"):
        Embedder(served)
    served.model.close()
