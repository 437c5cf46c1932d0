"""What a training leaves beside the weights: tokenizer, contract, probes, texts to choose on, its log."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from pillm_hf import LoRA
from pillm_hf.rows.text import Encoded
from pillm_hf.training import outputs
from pillm_hf_jobs import FAST, lines, train

import pillm


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint whose training left one row out."""
    folder = tmp_path_factory.mktemp("trained")
    rows = folder / "rows.jsonl"
    talk = [("vert", "rouge"), ("lac", "pont"), ("long", "lac " * 99)]
    flat = [{"id": f"r{number}", "user": ask, "assistant": told} for number, (ask, told) in enumerate(talk)]
    rows.write_text("".join(json.dumps(row) + "\n" for row in flat), "utf-8")
    asked = (pillm.Prompt(id="t0", messages=({"role": "user", "content": "neige"},), split="test"),)
    made = pillm.Rows(rows)
    data = pillm.TrainingData(train=made, validation=made, calibration=made, probes=asked)
    train(LoRA(base=str(base), max_length=64, **FAST), data, folder / "out")
    return folder / "out"


def test_the_tokenizer_files_are_the_bases_byte_for_byte(base: Path, trained: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (trained / name).read_bytes() == (base / name).read_bytes()
    assert json.loads((trained / "generation_config.json").read_text("utf-8"))["eos_token_id"] == 2


def test_a_student_of_a_base_with_code_of_its_own_names_no_code(base: Path, data: pillm.TrainingData, tmp_path: Path) -> None:
    named = tmp_path / "named"
    shutil.copytree(base, named)
    for name in ("config.json", "tokenizer_config.json"):
        settings = json.loads((named / name).read_text("utf-8")) | {"auto_map": {"AutoConfig": "own.Config"}}
        (named / name).write_text(json.dumps(settings), "utf-8")
    train(LoRA(base=str(named), **FAST | {"num_train_epochs": 1}), data, tmp_path / "out")
    for name in ("config.json", "tokenizer_config.json"):
        assert "auto_map" not in (tmp_path / "out" / name).read_text("utf-8")


def test_the_contract_carries_template_and_stop_token(base: Path, trained: Path) -> None:
    contract = pillm.Checkpoint(path=trained).contract
    assert contract["template"] == (base / "chat_template.jinja").read_text("utf-8")
    assert contract["stop_tokens"] == ["<|im_end|>"]
    assert contract["special_tokens"] == {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
    assert contract["hash"] == pillm.Contract.from_json(contract).hash


def test_probes_are_the_ids_of_the_batches_and_the_prompts_of_other_splits(trained: Path) -> None:
    from pillm_hf.rows.opening import load_chat

    chat = load_chat(trained)
    probes = list(pillm.Checkpoint(path=trained).probes())
    assert [probe.id for probe in probes] == ["r0", "r1", "r0", "r1", "t0"]
    assert all(chat.encode([probe.text]) == [list(probe.ids)] for probe in probes)
    assert probes[0].text.endswith("rouge<|im_end|>\n")
    assert probes[-1].text.endswith("neige<|im_end|>\n<|im_start|>assistant\n")
    assert len(pillm.Checkpoint(path=trained).calibration()) == 3


def test_validation_rows_are_kept_to_compare_quantisations_on_with_the_tokens_of_their_answers(trained: Path) -> None:
    from pillm_hf.rows.opening import load_chat

    chat = load_chat(trained)
    found = pillm.Checkpoint(path=trained).validation()
    answers = []
    for row in found:
        begin, end = row.answer
        answers.append(chat.tokenizer.decode(chat.encode([row.text])[0][begin:end]))
    assert answers == ["rouge<|im_end|>", "pont<|im_end|>"]


def test_no_quantisation_is_calibrated_or_chosen_on_rows_of_the_test(base: Path, tmp_path: Path) -> None:
    sides = {"train": "vert", "validation": "lac", "test": "neige"}
    examples = [
        pillm.Example(
            prompt=pillm.Prompt(id=f"{side}-{number}", messages=({"role": "user", "content": f"{word} {number}"},), split=side),
            answer=pillm.Answer("pont"),
        )
        for side, word in sides.items()
        for number in range(5)
    ]
    checkpoint = pillm.train(examples, LoRA(base=str(base), **FAST | {"num_train_epochs": 1}), tmp_path / "out")
    assert [row.split for row in checkpoint.rendered()] == ["train"] * 5 + ["validation"] * 5
    kept = (checkpoint.path / "calibration.jsonl").read_text("utf-8")
    assert "vert 3" in kept
    assert "lac 3" in kept
    assert "neige" not in kept
    assert pillm.verify(checkpoint.path) == []


def test_at_most_so_many_rows_of_a_training_are_kept_and_from_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "CALIBRATION_ROWS", 10)
    rows = [Encoded(f"r{number}", (), f"text {number}", [1, 2], 1, 2) for number in range(95)]
    outputs.write_calibration([], rows[:2], rows, tmp_path)
    kept = [int(row["id"][1:]) for row in lines(tmp_path / "calibration.jsonl") if row["split"] == "train"]
    assert kept == list(range(0, 95, 10))
    outputs.write_calibration(rows[:3], [], rows, tmp_path)
    assert [row["split"] for row in lines(tmp_path / "calibration.jsonl")] == ["calibration"] * 3


def test_rows_left_out_are_counted_and_said(base: Path, trained: Path, data: pillm.TrainingData, tmp_path: Path) -> None:
    log = json.loads((trained / "training.json").read_text("utf-8"))
    assert (log["rows"], log["rows_left_out"]) == (2, {"longer than max_length=64 tokens": 1})
    with pytest.raises(pillm.DataError, match="20 rows: longer than max_length=8"):
        train(LoRA(base=str(base), max_length=8), data, tmp_path / "out")
