from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from pillm_llamacpp.exporter import GGUFExporter
from pillm_llamacpp.inference.session import LocalSession
from pillm_llamacpp.process.serving import Served, sequences
from pillm_llamacpp.runner import LocalRunner
from pillm_llamacpp.teacher import GGUFTeacher
from pillm_llamacpp_tiny import write_model

import pillm


@pytest.mark.full
def test_the_cache_is_sized_by_the_models_own_heads(tmp_path: Path) -> None:
    wide = write_model(tmp_path / "wide", head=128)
    (model,) = GGUFExporter(quants=["F16"], logits="skip").export(wide, tmp_path, pillm.Progress())
    served = Served(path=str(model.path))
    try:
        assert served.model.kv_bytes == 2 * (128 + 128) * 2 * 2, "16 bit, keys and values, of 2 heads in 2 layers"
    finally:
        served.model.close()


def test_a_model_that_is_only_timed_has_no_cache_for_answers(gguf: pillm.ModelFile) -> None:
    served = Served(path=str(gguf.path), parallel=4)
    try:
        served.ask("time", {"kind": "pp", "tokens": 8, "depth": 0, "threads": 1})
        assert (served.facts()["parallel"], served.batcher) == (4, None)
    finally:
        served.model.close()


def test_as_many_answers_are_decoded_together_as_asked_where_memory_holds_them() -> None:
    assert sequences(16, cost=10, free=1000) == 16
    assert sequences(16, cost=10, free=80) == 6, "a quarter is left for others"
    assert sequences(16, cost=10, free=-5) == 1


def test_the_answers_that_are_decoded_together_are_a_fixed_number_unless_told_otherwise(gguf: pillm.ModelFile) -> None:
    assert GGUFTeacher(model=gguf.path).parallel == LocalRunner().parallel == 8
    with LocalRunner().open(gguf) as session:
        assert isinstance(session, LocalSession)
        assert session.facts["parallel"] == 8


@pytest.mark.full
def test_a_parallel_that_memory_does_not_hold_is_cut_with_a_warning(
    checkpoint: pillm.Checkpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    far = Path(shutil.copytree(checkpoint.path, tmp_path / "far"))
    config = json.loads((far / "config.json").read_text())
    (far / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 2**30}))
    (model,) = GGUFExporter(quants=["F16"], logits="skip").export(pillm.Checkpoint(path=far), tmp_path, pillm.Progress())
    for runner in (LocalRunner(parallel=64, context=2**30), LocalRunner(context=2**30)):
        caplog.clear()
        with runner.open(model) as session:
            assert isinstance(session, LocalSession)
            assert 1 <= session.facts["parallel"] < runner.parallel
        (warning,) = caplog.messages
        assert f"not {runner.parallel}" in warning, "the default's cut is told as well"
        assert "smaller context" in warning
        assert "answer may differ" in warning
    caplog.clear()
    with LocalRunner(parallel=16, context=2**16).open(model) as session:
        assert isinstance(session, LocalSession)
        assert session.facts["parallel"] == 16
    assert not caplog.messages
