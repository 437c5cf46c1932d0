"""Adapters through the exporter: merged into their base, or in a file of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pillm_llamacpp.exporter import GGUFExporter
from pillm_llamacpp.writing.writer import Writing
from pillm_llamacpp_students import Q_PROJ, contents, write_adapter
from pillm_llamacpp_tiny import write_model

import pillm


def export(checkpoint: pillm.Checkpoint, out: Path, **options: Any) -> list[pillm.ModelFile]:
    return list(
        GGUFExporter(assets=False, file_name=checkpoint.path.name, **options).export(checkpoint, out, pillm.Progress("export"))
    )


@pytest.fixture(scope="module")
def adapter(checkpoint: pillm.Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> pillm.Checkpoint:
    """Return an adapter that does not know its base."""
    return write_adapter(tmp_path_factory.mktemp("adapters") / "mine", "owner/model")


@pytest.fixture(scope="module")
def merged(
    adapter: pillm.Checkpoint, checkpoint: pillm.Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> list[pillm.ModelFile]:
    """Return what an export makes of it."""
    exporter = pillm.exporter("gguf", file_name="mine", quants="F16,Q4_K_M", base=str(checkpoint.path))
    return pillm.export(adapter, exporter, tmp_path_factory.mktemp("merged") / "out")


def weight(path: Path) -> np.ndarray:
    return np.frombuffer(contents(path)[1]["blk.0.attn_q.weight"][2], np.float16).reshape(256, 256).astype(np.float32)


@pytest.mark.full
def test_an_adapter_is_exported_merged_and_proved_against_the_unmerged_one(
    merged: list[pillm.ModelFile], exported: dict[str, pillm.ModelFile]
) -> None:
    assert [model.path.name for model in merged] == ["mine-F16.gguf", "mine-Q4_K_M.gguf"]
    found, plain = contents(merged[0].path)[1], contents(exported["F16"].path)[1]
    assert [name for name in plain if found[name] != plain[name]] == ["blk.0.attn_q.weight"]


@pytest.mark.full
def test_the_same_export_again_makes_nothing_and_another_base_something_else(
    merged: list[pillm.ModelFile], adapter: pillm.Checkpoint, checkpoint: pillm.Checkpoint, tmp_path: Path
) -> None:
    exporter = pillm.exporter("gguf", file_name="mine", quants="F16,Q4_K_M", base=str(checkpoint.path))
    assert pillm.export(adapter, exporter, merged[0].path.parent) == merged
    other = write_model(tmp_path / "other", layers=1)
    assert exporter.parents(adapter) != pillm.exporter("gguf", file_name="mine", base=str(other.path)).parents(adapter)


@pytest.mark.full
def test_an_adapter_alone_is_a_file_that_llama_cpp_adds_to_its_base(
    merged: list[pillm.ModelFile], adapter: pillm.Checkpoint, checkpoint: pillm.Checkpoint,
    exported: dict[str, pillm.ModelFile], tmp_path: Path,
) -> None:  # fmt: skip
    (model,) = export(adapter, tmp_path / "out", adapter="only", base=str(checkpoint.path))
    assert model.path.name == "mine-lora-F16.gguf"
    assert model.types == {"F16": 2}
    near = model.agreement
    assert near
    assert near.top1 is not None
    assert near.top1 + near.ties / near.places > 0.999
    assert not (tmp_path / "out" / ".gguf-work").exists()
    keys, tensors = contents(model.path)
    assert keys["general.type"][1] == "adapter"
    assert list(tensors) == ["blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_b"]
    # the file alone and the merged one say the same
    b = np.frombuffer(tensors["blk.0.attn_q.weight.lora_b"][2], np.float16).reshape(256, 4).astype(np.float32)
    a = np.frombuffer(tensors["blk.0.attn_q.weight.lora_a"][2], np.float16).reshape(4, 256).astype(np.float32)
    change = weight(merged[0].path) - weight(exported["F16"].path)
    assert np.allclose(change, keys["adapter.lora.alpha"][1] / 4 * (b @ a), atol=2e-3)
    assert np.abs(change).max() > 0.02


@pytest.mark.full
def test_an_adapter_alone_says_what_base_it_is_for_and_agrees_with_its_card(
    adapter: pillm.Checkpoint, checkpoint: pillm.Checkpoint, tmp_path: Path
) -> None:
    exporter = pillm.exporter("gguf", adapter="only", base=str(checkpoint.path), release="v3")
    (model,) = pillm.export(adapter, exporter, tmp_path / "export")
    keys, _ = contents(model.path)
    assert (keys["general.base_model.0.name"][1], keys["general.base_model.0.organization"][1]) == ("Model", "owner")
    assert keys["general.version"][1] == "v3"
    readme = (tmp_path / "export" / "README.md").read_text()
    assert "base_model: owner/model\nbase_model_relation: adapter\n" in readme
    assert "an adapter to be put on owner/model" in readme
    assert f"--lora {model.path.name}" in readme
    found = pillm.trace(model.path)
    assert len(found) > 5
    assert [str(one) for one in found if not one.agrees] == []


def test_what_an_adapter_is_merged_into_names_the_base_and_the_adapter(merged: list[pillm.ModelFile]) -> None:
    readme = (merged[0].path.parent / "README.md").read_text()
    assert "base_model: owner/model\nbase_model_relation: finetune\n" in readme
    assert "| base | owner/model |" in readme
    assert "| base | mine |" in readme
    assert [str(one) for one in pillm.trace(merged[0].path) if not one.agrees] == []


def test_an_adapter_alone_has_few_types_and_needs_an_adapter(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "mine", checkpoint.path)
    with pytest.raises(pillm.ConfigError, match=r"not stored as Q4_K_M\. Ask for one of F32, F16"):
        export(adapter, tmp_path / "out", adapter="only", quants=["Q4_K_M"])
    with pytest.raises(pillm.ConfigError, match="is a whole model, not an adapter's folder"):
        export(checkpoint, tmp_path / "out", adapter="only")
    assert not (tmp_path / "out").exists()


@pytest.mark.full
def test_an_adapter_that_computes_otherwise_on_its_base_gets_no_file(
    checkpoint: pillm.Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = write_adapter(tmp_path / "mine", checkpoint.path)
    told_of = Writing.__init__

    def swapped(self: Writing, **told: Any) -> None:
        weaker = write_adapter(tmp_path / "weaker", checkpoint.path, lora_alpha=4).path if told.get("alone") else None
        told_of(self, **{**told, **({"adapter": str(weaker)} if weaker else {})})

    monkeypatch.setattr(Writing, "__init__", swapped)
    with pytest.raises(pillm.BackendError, match=r"logits: mine-lora-F16\.gguf and the checkpoint differ by"):
        export(adapter, tmp_path / "out", adapter="only")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("more", [{"writer": "converter"}, {"pre": "gpt-2"}, {"imatrix": "mine.dat"}])
def test_what_an_adapter_alone_has_no_use_for_is_refused(more: dict[str, str]) -> None:
    with pytest.raises(pillm.ConfigError, match=f"leave out {next(iter(more))}"):
        pillm.exporter("gguf", adapter="only", **more)


def test_a_dora_alone_is_refused_with_the_way_out(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    lengths = {f"{Q_PROJ}.lora_magnitude_vector": np.ones(256, np.float32)}
    adapter = write_adapter(tmp_path / "mine", checkpoint.path, lengths, use_dora=True)
    with pytest.raises(pillm.DataError, match="is a DoRA, and a file of its own has no place for its lengths"):
        export(adapter, tmp_path / "out", adapter="only")
    assert not list((tmp_path / "out").iterdir())


def test_an_adapter_alone_that_holds_no_numbers_is_refused_and_no_file_is_left(
    checkpoint: pillm.Checkpoint, tmp_path: Path
) -> None:
    broken = {f"{Q_PROJ}.lora_B.weight": np.full((256, 4), np.nan, np.float32)}
    adapter = write_adapter(tmp_path / "mine", checkpoint.path, broken)
    with pytest.raises(pillm.DataError, match=r"hold what is no finite number: .*attn_q.*NaN"):
        export(adapter, tmp_path / "out", adapter="only")
    assert not list((tmp_path / "out").iterdir())
