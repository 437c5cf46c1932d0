"""Who writes the file in full precision, and that the exporter's gates judge it whoever did."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pillm_llamacpp.exporter import GGUFExporter
from pillm_llamacpp.measuring import measures
from pillm_llamacpp.quantizing import quantization
from pillm_llamacpp_students import contents
from pillm_llamacpp_tiny import write_model

import pillm


def export(checkpoint: pillm.Checkpoint, out: Path, **options: Any) -> tuple[list[pillm.ModelFile], str]:
    events: list[pillm.Event] = []
    models = list(
        GGUFExporter(assets=False, file_name="tiny", **options).export(
            checkpoint, out, pillm.Progress("export", (events.append,))
        )
    )
    return models, "\n".join(event.message for event in events if event.message)


@pytest.mark.full
def test_writer_and_converter_make_the_same_files(
    exported: dict[str, pillm.ModelFile], checkpoint: pillm.Checkpoint, tmp_path: Path
) -> None:
    models, said = export(checkpoint, tmp_path, writer="converter", quants=["F16", "Q4_K_M"])
    assert "the converter writes this model" not in said
    for model in models:
        assert model.sha256 == exported[model.quant].sha256
        assert model.types == exported[model.quant].types


@pytest.mark.parametrize("writer", [pytest.param("auto", marks=pytest.mark.full), "own"])
def test_a_model_that_is_not_covered_goes_to_the_converter_unless_the_writer_was_asked_for(
    writer: str, checkpoint: pillm.Checkpoint, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoint.path, tmp_path / "copy"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "n_layers": config["num_hidden_layers"]}))
    if writer == "own":
        with pytest.raises(pillm.DataError, match=r"config\.json has n_layers\. Choose -o writer=auto"):
            export(pillm.Checkpoint(path=folder), tmp_path / "out", writer=writer, quants=["F16"])
        assert not list((tmp_path / "out").rglob("*"))
        return
    models, said = export(pillm.Checkpoint(path=folder), tmp_path / "out", writer=writer, quants=["F16"])
    assert "the converter writes this model: config.json has n_layers." in said
    assert models[0].parity
    assert not models[0].parity.mismatches


@pytest.mark.full
def test_keys_that_are_the_converters_work_are_taken_from_it(
    exported: dict[str, pillm.ModelFile], checkpoint: pillm.Checkpoint, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoint.path, tmp_path / "tiny"))
    (folder / "added_tokens.json").write_text("{}")  # an older form, which the writer does not read
    (model,), said = export(pillm.Checkpoint(path=folder), tmp_path / "out", writer="own", quants=["F16"])
    (keys, tensors), (wanted_keys, wanted) = contents(model.path), contents(exported["F16"].path)
    assert (keys, tensors) == (wanted_keys, wanted)
    assert "the converter writes" not in said


_KILLED = """
import os, sys
from pathlib import Path
import pillm
from pillm_llamacpp.exporter import GGUFExporter
from pillm_llamacpp.measuring import measures
from pillm_llamacpp.quantizing import quantization
quantize = measures.quantize
def killed(source, target, quant, **more):
    if quant == "Q4_0":
        Path(str(target) + ".part").write_bytes(b"half")
        os.kill(os.getpid(), 9)
    return quantize(source, target, quant, **more)
measures.quantize = killed
exporter = GGUFExporter(assets=False, quants=["F16", "Q8_0", "Q4_K_M", "Q4_0"], file_name="tiny")
list(exporter.export(pillm.Checkpoint(path=Path(sys.argv[1])), Path(sys.argv[2]), pillm.Progress()))
"""


@pytest.mark.full
def test_a_killed_export_goes_on_with_what_was_missing(
    checkpoint: pillm.Checkpoint, exported: dict[str, pillm.ModelFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", _KILLED, str(checkpoint.path), str(out)], capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    assert sorted(path.name for path in out.glob("*.gguf")) == ["tiny-F16.gguf", "tiny-Q4_K_M.gguf", "tiny-Q8_0.gguf"]
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.gguf")}
    made: list[str] = []
    quantize = measures.quantize
    monkeypatch.setattr(measures, "quantize", lambda *told, **more: made.append(told[2]) or quantize(*told, **more))
    models, said = export(checkpoint, out, quants=["F16", "Q8_0", "Q4_K_M", "Q4_0"])
    assert made == ["Q4_0"]
    assert "the files in full precision stand" in said
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.gguf") if path.name in before} == before
    assert [model.quant for model in models] == ["F16", "Q8_0", "Q4_K_M", "Q4_0"]
    assert models[0].sha256 == exported["F16"].sha256
    assert {model.parity for model in models} == {exported["F16"].parity}
    beside = {"card.json", "Modelfile"}
    assert {path.name for path in out.iterdir()} == {model.path.name for model in models} | beside


_KILLED_WHILE_WRITING = """
import os, sys
from pathlib import Path
import pillm
from pillm_llamacpp.exporter import GGUFExporter
from pillm_llamacpp.writing import writer
def killed(worker, message, first, progress):
    worker.receive()  # so that the worker is in the middle of it
    os.kill(os.getpid(), 9)
writer._follow = killed
exporter = GGUFExporter(assets=False, quants=["F16"], file_name="tiny")
list(exporter.export(pillm.Checkpoint(path=Path(sys.argv[1])), Path(sys.argv[2]), pillm.Progress()))
"""


@pytest.mark.full
def test_a_kill_in_the_middle_of_the_pass_leaves_no_half_file(
    checkpoint: pillm.Checkpoint, exported: dict[str, pillm.ModelFile], tmp_path: Path
) -> None:
    told = (str(checkpoint.path), str(tmp_path))
    done = subprocess.run([sys.executable, "-c", _KILLED_WHILE_WRITING, *told], capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    assert not list(tmp_path.rglob("*.gguf"))
    (model,), _ = export(checkpoint, tmp_path, quants=["F16"])
    assert model.sha256 == exported["F16"].sha256
    assert {path.name for path in tmp_path.iterdir()} == {model.path.name, "card.json", "Modelfile"}


@pytest.mark.full
def test_what_was_finished_is_made_again_for_another_model(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    out = tmp_path / "out"
    subprocess.run([sys.executable, "-c", _KILLED, str(checkpoint.path), str(out)], capture_output=True, check=False)
    changed = write_model(tmp_path / "tiny", layers=1)
    os.utime(changed.path / "model.safetensors")
    models, _ = export(changed, out, quants=["F16", "Q8_0"])
    assert contents(models[0].path)[0]["llama.block_count"][1] == 1
    assert contents(models[1].path)[0]["llama.block_count"][1] == 1


@pytest.mark.full
def test_a_full_disk_leaves_the_record_of_what_was_finished(
    checkpoint: pillm.Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantize = measures.quantize

    def full(source: Path, target: Path, quant: str, **more: Any) -> dict[str, int]:
        if quant == "Q4_0":
            raise quantization.full(target, "no space left")
        return quantize(source, target, quant, **more)

    monkeypatch.setattr(measures, "quantize", full)
    told = {"quants": ["F16", "IQ4_NL", "Q4_0"]}
    with pytest.raises(pillm.StorageError):
        export(checkpoint, tmp_path, **told)
    kept = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert kept == [".gguf-work/finished.json", "tiny-F16.gguf", "tiny-IQ4_NL.gguf"]
    made: list[str] = []
    monkeypatch.setattr(measures, "quantize", lambda *told, **more: made.append(told[2]) or quantize(*told, **more))
    export(checkpoint, tmp_path, **told)
    assert made == ["Q4_0"]
