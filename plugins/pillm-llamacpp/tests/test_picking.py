"""An export that chooses its quantisation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from pillm_llamacpp.choosing.picking import check
from pillm_llamacpp.exporter import GGUFExporter
from pillm_llamacpp_benching import device_of
from pillm_llamacpp_tiny import SENTENCES, render, write_calibration

import pillm
from pillm.report import read_choice


@pytest.fixture(scope="module")
def student(checkpoint: pillm.Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> pillm.Checkpoint:
    """Return the tiny model with conversations to measure with, and its probes among those of validation."""
    folder = shutil.copytree(checkpoint.path, tmp_path_factory.mktemp("rendered") / "tiny")
    write_calibration(folder)
    messages = [[{"role": "user", "content": one}, {"role": "assistant", "content": '{"ok": true}'}] for one in SENTENCES]
    with (folder / "calibration.jsonl").open("a") as file:
        file.writelines(json.dumps({"text": render(one), "split": "validation"}) + "\n" for one in messages)
    return pillm.Checkpoint(path=folder)


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> str:
    return device_of(tmp_path_factory.mktemp("device"))


@pytest.mark.full
def test_an_export_that_searches_ships_the_pick_and_says_why(student: pillm.Checkpoint, device: str, tmp_path: Path) -> None:
    out, notes = tmp_path / "export", []
    progress = pillm.Progress("export", (lambda event: notes.append(event.message) if event.kind == "note" else None,))
    exporter = pillm.exporter("gguf", quants="auto", device=device, probes=2, file_name="tiny")
    (model,) = pillm.export(student, exporter, out, progress=progress)
    choice = read_choice(out)
    assert choice is not None
    assert model.quant == choice["picked"]
    assert choice["reason"] in notes
    assert model.divergence is not None
    picked = next(trial for trial in choice["trials"] if trial["name"] == model.quant)
    assert (picked["bytes"], picked["kld"]) == (model.bytes, model.divergence.mean)
    assert picked["score"] == 0, "random weights answer nothing right, and that is said"
    files = {path.name for path in out.glob("*.gguf")}
    assert {model.path.name} <= files <= {model.path.name, "tiny.imatrix.gguf"}, "what was tried and does not ship is gone"
    assert not any(path.is_dir() for path in out.iterdir())
    assert pillm.export(student, exporter, out, progress=progress) == [model], "the same command has nothing to do"


def test_the_whole_front_ships_where_it_is_asked_for(student: pillm.Checkpoint, device: str, tmp_path: Path) -> None:
    exporter = pillm.exporter("gguf", quants="auto", device=device, probes=0, keep="front")
    models = pillm.export(student, exporter, tmp_path / "export")
    choice = read_choice(tmp_path / "export")
    assert choice is not None
    assert models[0].quant == choice["picked"]
    assert {model.quant for model in models} == {trial["name"] for trial in choice["trials"] if trial["front"]}
    assert "F16" in {model.quant for model in models}
    assert all(trial["kept"] == trial["front"] for trial in choice["trials"])


@pytest.mark.full
def test_a_limit_that_nothing_keeps_to_leaves_no_file(student: pillm.Checkpoint, device: str, tmp_path: Path) -> None:
    exporter = pillm.exporter("gguf", quants="auto", device=device, probes=0, min_tps=1e6)
    with pytest.raises(pillm.GateError, match=r"needed 1e\+06"):
        pillm.export(student, exporter, tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_a_folder_without_conversations_is_refused_before_anything_is_converted(
    checkpoint: pillm.Checkpoint, device: str, tmp_path: Path
) -> None:
    exporter = GGUFExporter(quants="auto", device=device)
    with pytest.raises(pillm.ConfigError, match="carries no conversations of its training"):
        list(exporter.export(checkpoint, tmp_path / "out", pillm.Progress()))
    assert not (tmp_path / "out").exists()


def test_a_score_that_cannot_be_measured_is_refused_before_anything_is_converted(
    checkpoint: pillm.Checkpoint, device: str, tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoint.path, tmp_path / "tiny")
    write_calibration(folder)
    asking = GGUFExporter(quants="auto", device=device, min_exact="0.98 of F16")
    with pytest.raises(pillm.ConfigError, match="min_exact cannot be checked"):
        check(asking, pillm.Checkpoint(path=folder))
    check(GGUFExporter(quants="auto", device=device), pillm.Checkpoint(path=folder))
