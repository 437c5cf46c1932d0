"""An export that chooses its quantisation."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from pillm_llamacpp.exporter import GGUFExporter
from pillm_llamacpp.packing.picking import check
from pillm_llamacpp.quantizing.finished import LEDGER_FILE
from pillm_llamacpp_benching import device_of
from pillm_llamacpp_tiny import SENTENCES, render, write_calibration

import pillm
from pillm.cli.formats import format_schema
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
    written = json.loads((out / "choice.json").read_text())
    Draft202012Validator(format_schema("choice")).validate(written)
    assert written["rests_on"]["compared"] == 12
    assert written["rests_on"]["scored"] == 4
    assert "rests on 12 validation conversations" in choice["reason"]
    assert any(note.startswith("the search makes and measures at most") for note in notes)
    assert any(note.startswith("the first file took") for note in notes)
    files = {path.name for path in out.glob("*.gguf")}
    assert {model.path.name} <= files <= {model.path.name, "tiny.imatrix.gguf"}, "what was tried and does not ship is gone"
    assert not any(path.is_dir() for path in out.iterdir())
    assert pillm.export(student, exporter, out, progress=progress) == [model], "the same command has nothing to do"


@pytest.mark.full
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


_KILLED = """
import os, sys
from pathlib import Path
import pillm
from pillm_llamacpp.choosing.trials import Bench
from pillm_llamacpp.measuring.divergence import Reference
log, left = Path(sys.argv[4]), [int(sys.argv[5])]
compare = Reference.compare
def counted(self, model, **more):
    if left[0] == 0:
        os.kill(os.getpid(), 9)
    left[0] -= 1
    with log.open("a") as file:
        file.write(model.stem + "\\n")
    return compare(self, model, **more)
Reference.compare = counted
exporter = pillm.exporter("gguf", quants="auto", device=sys.argv[3], probes=int(sys.argv[6]), file_name="tiny", assets=False)
pillm.export(pillm.Checkpoint(path=Path(sys.argv[1])), exporter, Path(sys.argv[2]))
"""


def searched(student: pillm.Checkpoint, device: str, out: Path, kill_after: int, probes: int) -> tuple[int, list[str]]:
    """Run a search in a process of its own that kills itself before a comparison; return its code and what it compared."""
    log = out.with_suffix(".log")
    log.write_text("")
    words = [str(student.path), str(out), device, str(log), str(kill_after), str(probes)]
    done = subprocess.run([sys.executable, "-c", _KILLED, *words], capture_output=True, check=False, text=True)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode, log.read_text().split()


@pytest.mark.full
def test_a_killed_search_for_types_goes_on_where_it_was(student: pillm.Checkpoint, device: str, tmp_path: Path) -> None:
    out, measured = tmp_path / "export", []
    for kills in (3, 9, 6, -1):
        code, names = searched(student, device, out, kills, probes=4)
        assert code == (0 if kills < 0 else -9)
        measured += names
    _, whole = searched(student, device, tmp_path / "another", -1, probes=4)
    assert measured == whole, "what was measured before the kills was not measured again, and nothing was left out"
    assert not list(out.glob(".*"))
    assert json.loads((out / "choice.json").read_text()) == json.loads((tmp_path / "another" / "choice.json").read_text())


@pytest.mark.full
def test_a_search_that_the_disk_cannot_hold_does_not_begin(
    student: pillm.Checkpoint, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pillm_llamacpp.choosing.forecast.shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    exporter = GGUFExporter(quants="auto", device=device, probes=0)
    out = tmp_path / "out"
    with pytest.raises(pillm.StorageError, match=r"choosing a quantisation needs .* MB in .* are free. Nothing was tried yet"):
        list(exporter.export(student, out, pillm.Progress()))
    assert {path.name for path in out.rglob("*") if path.is_file()} <= {"finished.json", LEDGER_FILE}


def test_rows_that_were_trained_on_prove_no_score(student: pillm.Checkpoint, device: str, tmp_path: Path) -> None:
    folder = shutil.copytree(student.path, tmp_path / "tiny")
    lines = [json.loads(line) for line in (folder / "calibration.jsonl").read_text().splitlines()]
    (folder / "calibration.jsonl").write_text("".join(json.dumps({**line, "split": "train"}) + "\n" for line in lines))
    asking = GGUFExporter(quants="auto", device=device, min_exact="0.98 of F16")
    with pytest.raises(pillm.ConfigError, match=r"carries only rows that were trained on.*split.validation"):
        check(asking, pillm.Checkpoint(path=folder))
    check(GGUFExporter(quants="auto", device=device), pillm.Checkpoint(path=folder))


def test_a_schema_alone_scores_nothing(student: pillm.Checkpoint, device: str) -> None:
    with pytest.raises(pillm.ConfigError, match="metric schema cannot be scored"):
        check(GGUFExporter(quants="auto", device=device, metrics="schema"), student)
