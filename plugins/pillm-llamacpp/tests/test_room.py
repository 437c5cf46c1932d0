from __future__ import annotations

import json
from pathlib import Path

import pytest
from pillm_llamacpp.exporter import GGUFExporter
from pillm_llamacpp.gates import room
from pillm_llamacpp.gates.room import LIBRARIES, precision
from pillm_llamacpp_students import contents, write_student
from pillm_llamacpp_zoo import build

import pillm


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model whose weights are stored in 16 bit."""
    return write_student(tmp_path_factory.mktemp("room") / "student", "granite")


def held(student: Path, more: int) -> str:
    config = json.loads((student / "config.json").read_text())
    return precision(student, config, free=LIBRARIES + 8 * 512 * config["vocab_size"] + more)


def test_a_checkpoint_is_widened_as_a_whole_where_that_fits_and_layer_by_layer_where_only_that_does(student: Path) -> None:
    tensors = pillm.stored_tensors(student).values()
    weights, largest = sum(one.weights for one in tensors), max(one.weights for one in tensors)
    assert held(student, 4 * weights) == "float32"
    assert held(student, 4 * weights - 1) == held(student, 2 * weights + 4 * largest) == "stored"
    with pytest.raises(pillm.ConfigError, match=r"takes 0\.7 GB of memory, and 0\.7 GB are free.*-o logits=skip"):
        held(student, 2 * weights + 4 * largest - 1)


def test_where_it_does_not_fit_nothing_is_converted_and_the_doctor_says_it_before(
    checkpoint: pillm.Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "free_memory", lambda: 1000)
    with pytest.raises(pillm.ConfigError, match="Nothing was converted"):
        list(GGUFExporter().export(checkpoint, tmp_path / "out", pillm.Progress()))
    assert not (tmp_path / "out").exists()
    assert {one.name for one in GGUFExporter().examine(checkpoint) if one.wrong} == {"memory"}


@pytest.mark.full
@pytest.mark.parametrize("name", ["bert", "tiny"])
def test_without_the_proof_the_files_are_made_and_tried_and_say_that_it_was_not_given(
    name: str, checkpoint: pillm.Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "free_memory", lambda: 1000)
    source = build("bert", tmp_path) if name == "bert" else checkpoint
    events: list[pillm.Event] = []
    exporter = GGUFExporter(logits="skip", quants=["F16", "Q8_0"], imatrix="off", assets=False, threads=1)
    models = list(exporter.export(source, tmp_path / "out", pillm.Progress("export", (events.append,))))
    assert [model.agreement for model in models] == [None, None]
    assert all(model.parity and model.parity.rows > 200 for model in models)
    assert all(contents(model.path)[0]["pillm.logits"][1] == "not proved" for model in models)
    assert json.loads((tmp_path / "out" / "card.json").read_text())["lineage"]["pillm.logits"] == "not proved"
    assert any("not compared with the checkpoint (logits=skip)" in event.message for event in events if event.message)
