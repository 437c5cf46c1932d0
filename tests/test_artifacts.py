"""Artefacts are read from what is on disk, hashed by their bytes, and written as plain JSON."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from pillm import Alternative, Checkpoint, Contract, DataError, Evaluation, Figure, ModelFile, Parity, Plan, Probe
from pillm.artifacts import sha256_file, sha256_folder, to_json
from pillm.testing import TableTrainer, check_trainer


@pytest.fixture
def checkpoint(tmp_path):
    return check_trainer(TableTrainer(), tmp_path / "work")


def test_a_file_is_hashed_by_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_a_folder_is_hashed_by_names_and_bytes_and_not_by_where_it_lies(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder / "deep").mkdir(parents=True)
        (tmp_path / folder / "a").write_text("1")
        (tmp_path / folder / "deep" / "b").write_text("2")
    first = sha256_folder(tmp_path / "one")
    assert sha256_folder(tmp_path / "two") == first
    assert sha256_folder(tmp_path / "one", ["a"]) != first
    (tmp_path / "two" / "a").rename(tmp_path / "two" / "c")
    assert sha256_folder(tmp_path / "two") != first
    (tmp_path / "one" / "a").write_text("3")
    assert sha256_folder(tmp_path / "one") != first


def test_a_checkpoint_brings_its_contract_probes_and_calibration_texts(checkpoint):
    assert checkpoint.label == "student"
    assert Checkpoint(path=checkpoint.path, name="mine").label == "mine"
    assert checkpoint.config["model_type"] == "pillm-table"
    assert checkpoint.contract["hash"] == Contract.from_json(checkpoint.contract).hash
    probe = next(checkpoint.probes())
    assert isinstance(probe, Probe)
    assert bytes(probe.ids).decode() == probe.text
    assert checkpoint.calibration()[0].startswith("user: ")


@pytest.mark.parametrize("content", ['{"a":', "[1]"])
def test_a_damaged_contract_is_named_with_the_remedy(checkpoint, content):
    (checkpoint.path / "contract.json").write_text(content)
    with pytest.raises(DataError, match=r"contract\.json is damaged .* Train again"):
        _ = checkpoint.contract


def test_a_folder_that_another_program_made_has_no_contract_and_no_probes(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    stranger = Checkpoint(path=tmp_path)
    assert (stranger.contract, list(stranger.probes()), stranger.calibration()) == ({}, [], [])


@pytest.mark.parametrize("content", [None, "{", "\xff"])
def test_a_folder_that_is_no_model_says_what_a_model_needs(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=r"not a readable model folder .* needs config\.json"):
        Checkpoint(path=tmp_path).config  # noqa: B018 - reading it is the test


def test_a_model_file_is_measured_from_the_disk(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    model = ModelFile.of(tmp_path / "a.gguf", "Q8_0", parity=Parity(rows=3, mismatches=0), types={"Q8_0": 7})
    assert (model.bytes, model.sha256, model.label) == (4, hashlib.sha256(b"GGUF").hexdigest(), "a.gguf")
    assert json.loads(json.dumps(to_json(model)))["parity"] == {"rows": 3, "mismatches": 0}


def test_an_artefact_is_plain_json_without_what_is_absent():
    figure = Figure(mean=0.5, low=0.4, high=0.6, rows=10)
    evaluation = Evaluation(
        subject="s", kind="model", set="test", rows=10, metrics={"exact": figure}, tags={"fr": {"exact": figure}},
        predictions=Path("a") / "b.jsonl",
    )  # fmt: skip
    plain = to_json(evaluation)
    assert json.loads(json.dumps(plain)) == plain
    assert plain["predictions"] == "a/b.jsonl"
    assert plain["tags"]["fr"]["exact"]["mean"] == 0.5
    assert "quant" not in plain


Q8 = Alternative(
    what="Q8_0", device="pi4", quant="Q8_0", context=512, bytes=1, tg_tps=None, pp_tps=None, fits=True, extrapolated=False
)


def test_a_plan_is_predicted_unless_it_says_otherwise():
    plan = Plan(
        model="m", device="pi4", quant="Q4_0", fits=True, bytes=1, memory={}, tg_tps=None, pp_tps=None, context=512,
        verdict="fits", alternatives=(Q8,),
    )  # fmt: skip
    assert plan.basis == "predicted"
    assert to_json(plan)["alternatives"] == [asdict(Q8)]
