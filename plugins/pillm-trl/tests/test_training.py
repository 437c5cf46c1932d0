"""Training on preferences, from rows to an exported checkpoint: it learns, resumes exactly, and says what it left out."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from pillm_hf.models.loading import load_model
from pillm_hf.rows.opening import load_chat
from pillm_trl import DPO
from pillm_trl.options import Loss
from pillm_trl.pairs import encode_pairs
from pillm_trl.resuming import Seals

import pillm

FAST: dict[str, Any] = {"num_train_epochs": 2, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2,
                        "dtype": "float32", "logging_steps": 1}  # fmt: skip
ADAPTER = FAST | {"learning_rate": 5e-3, "rank": 4}
FULL = FAST | {"learning_rate": 1e-3, "adapter": False}


def margin(folder: Path, data: pillm.TrainingData) -> float:
    """Return how much likelier the chosen answers are than the rejected ones, in nats, over all training pairs."""
    model = load_model(folder, torch.float32)
    total = 0.0
    for pair in encode_pairs(data.train, pillm.Contract(), load_chat(folder), 200).rows:
        for row, sign in ((pair.chosen, 1), (pair.rejected, -1)):
            ids = torch.tensor([row.ids[: row.end]])
            with torch.no_grad():
                said = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[row.start - 1 :]
            total += sign * float(said.sum())
    return total


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(ADAPTER, marks=pytest.mark.full),
        ADAPTER | {"loss_type": ["robust", "sft"], "loss_weights": [1.0, 0.1], "label_smoothing": 0.1, "dropout": 0.1},
        pytest.param(ADAPTER | {"gradient_checkpointing": True, "loss_type": ["ipo"]}, marks=pytest.mark.full),
        pytest.param(FULL, marks=pytest.mark.full),
        FULL | {"precompute_ref_log_probs": True, "loss_type": ["hinge"], "save_dtype": "float16"},
    ],
)
def test_the_chosen_answers_become_likelier_than_the_rejected_ones(
    options: dict[str, Any], base: Path, data: pillm.TrainingData, learn: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    log, events = learn(DPO(base=str(base), **options), out)
    assert margin(out, data) > margin(base, data) + 1
    assert log["log"][-1]["rewards_margins"] > 0 == log["log"][0]["rewards_margins"]
    assert [entry["step"] for entry in log["log"]] == [1, 2, 3, 4, 5, 6]
    assert [entry["step"] for entry in log["validation"]] == [3, 6]
    assert (log["learnt_parameters"] == log["parameters"]) != options.get("adapter", True)
    told = [event.figures for event in events if "rewards_accuracies" in event.figures]
    assert len(told) == 6
    assert all({"loss", "rewards_margins", "learning_rate"} <= set(figures) for figures in told)
    assert events[-1].done == events[-1].total == 6
    half = "float16" if options.get("save_dtype") == "float16" else "bfloat16"
    assert pillm.Checkpoint(path=out).config["dtype"] == half
    assert not any((out / name).exists() for name in (".checkpoints", "trained-float32"))


def test_every_loss_that_can_be_asked_for_is_one_that_trl_has(base: Path, learn: Callable[..., Any], tmp_path: Path) -> None:
    options = ADAPTER | {"loss_type": list(get_args(Loss)), "label_smoothing": 0.1, "num_train_epochs": 1}
    log, _ = learn(DPO(base=str(base), **options), tmp_path / "out")
    assert log["log"][-1]["loss"] < log["log"][0]["loss"]


def test_the_student_is_the_base_but_for_its_weights(base: Path, learn: Callable[..., Any], tmp_path: Path) -> None:
    for name, options in (("adapter", ADAPTER), ("full", FULL)):
        learn(DPO(base=str(base), **options), tmp_path / name)
        for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            assert (tmp_path / name / file).read_bytes() == (base / file).read_bytes()
    configs = [json.loads((tmp_path / name / "config.json").read_text("utf-8")) for name in ("adapter", "full")]
    assert configs[0] == configs[1]
    given = json.loads((base / "config.json").read_text("utf-8"))
    changed = {name for name in configs[0] if configs[0][name] != given.get(name)}
    assert changed == {"dtype", "eos_token_id"}


def test_the_folder_says_what_was_read_and_what_was_left_out(
    base: Path, data: pillm.TrainingData, learn: Callable[..., Any], rows: Callable[..., pillm.Rows], tmp_path: Path
) -> None:
    more = [
        {"id": "alone", "prompt": "lac", "completion": "pont"},
        {"id": "same", "prompt": "lac", "chosen": "pont", "rejected": "pont"},
        {"id": "long", "prompt": "lac", "chosen": "pont", "rejected": "pont " * 99},
    ]
    taught = rows([json.loads(line) for line in data.train.path.read_text("utf-8").splitlines()] + more)
    log, events = learn(DPO(base=str(base), max_length=64, **ADAPTER), tmp_path / "out", replace(data, train=taught))
    assert (log["rows"], log["rows_left_out"]) == (12, {
        "no rejected answer": 1, "the chosen and the rejected answer are the same": 1,
        "rejected answer: longer than max_length=64 tokens": 1,
    })  # fmt: skip
    assert sum("training rows left out" in event.message for event in events if event.kind == "warning") == 3
    out = tmp_path / "out"
    texts = [probe["text"] for probe in lines(out / "probes.jsonl")]
    assert sum("lac fin<|im_end|>" in text for text in texts) == 2  # trained on, and watched
    assert sum(" non<|im_end|>" in text for text in texts) == 16
    assert len(pillm.Checkpoint(path=out).calibration()) == 3
    assert all(" non<|im_end|>" not in row.text for row in pillm.Checkpoint(path=out).validation())
    assert pillm.Checkpoint(path=out).contract["stop_tokens"] == ["<|im_end|>", "<|endoftext|>"]
    assert log["tokens"] > log["answer_tokens"] > 0


def test_rows_of_which_none_can_be_learnt_from_are_refused_with_the_reasons(
    base: Path, data: pillm.TrainingData, learn: Callable[..., Any], rows: Callable[..., pillm.Rows], tmp_path: Path
) -> None:
    alone = replace(
        data, train=rows([{"prompt": "lac", "completion": "pont"}, {"prompt": "a", "chosen": "b", "rejected": "b"}])
    )
    with pytest.raises(pillm.DataError, match="1 rows: no rejected answer; 1 rows: the chosen and the rejected"):
        learn(DPO(base=str(base), **ADAPTER), tmp_path / "out", alone)


def test_a_training_without_validation_pairs_watches_nothing(
    base: Path, data: pillm.TrainingData, learn: Callable[..., Any], rows: Callable[..., pillm.Rows], tmp_path: Path
) -> None:
    log, _ = learn(DPO(base=str(base), **ADAPTER), tmp_path / "out", replace(data, validation=rows([])))
    assert log["validation"] == []


CHILD = """
import json, os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
import pillm
from pillm_trl import DPO
from pillm_trl.resuming import Seals
from pillm_trl.options import Loss

said = json.loads(sys.argv[1])
rows = {name: pillm.Rows(Path(path)) for name, path in said["rows"].items()}

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def heard(event):
    if "rewards_accuracies" in event.figures and event.done == said["step"]:
        kill()

if said["where"] == "a save":
    real = Seals.put
    Seals.put = lambda self, step, seconds: kill() if step == said["step"] else real(self, step, seconds)
    heard = lambda event: None
Path(said["out"]).mkdir()
data = pillm.TrainingData(**rows, seed=3)
DPO(**said["options"]).train(data, Path(said["out"]), pillm.Progress("train", (heard,)))
"""


def weights(out: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    path = out / "adapter" / "adapter_model.safetensors"
    return dict(load_file(path if path.is_file() else out / "model.safetensors"))


@pytest.mark.full
@pytest.mark.parametrize(
    ("where", "step", "more"),
    [
        ("a step", 4, ADAPTER | {"dropout": 0.1}),
        ("a save", 3, FULL | {"precompute_ref_log_probs": True}),
        ("a save", 5, ADAPTER | {"dropout": 0.1}),
        ("a step", 3, FULL),
    ],
)
def test_a_training_that_was_killed_goes_on_and_ends_with_the_very_same_weights(
    where: str, step: int, more: dict[str, Any], base: Path, data: pillm.TrainingData, learn: Callable[..., Any], tmp_path: Path
) -> None:
    options = {"base": str(base), "save_steps": 1, **more}
    paths = {name: str(getattr(data, name).path) for name in ("train", "validation", "calibration")}
    said = {"rows": paths, "options": options, "where": where, "step": step, "out": str(tmp_path / "killed")}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", CHILD, json.dumps(said)], env=environment, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr.decode()
    whole, _ = learn(DPO(**options), tmp_path / "whole")
    resumed, events = learn(DPO(**options), tmp_path / "killed")
    assert f"going on at step {step - 1} of 6" in {event.message for event in events}
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert list(expected) == list(found)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert resumed["log"] == whole["log"]
    assert resumed["validation"] == whole["validation"]


@pytest.fixture
def stopped(base: Path, learn: Callable[..., Any], tmp_path: Path) -> Path:
    """Return the folder of a training that was stopped after its fourth step."""

    def stop(event: pillm.Event) -> None:
        if "rewards_accuracies" in event.figures and event.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(DPO(base=str(base), save_steps=1, **ADAPTER), tmp_path / "out", heard=stop)
    return tmp_path / "out"


def test_a_damaged_checkpoint_is_told_of_and_the_one_before_it_leads_to_the_same_end(
    base: Path, stopped: Path, learn: Callable[..., Any], tmp_path: Path
) -> None:
    newest = stopped / ".checkpoints" / "checkpoint-4" / "optimizer.pt"
    newest.write_bytes(newest.read_bytes()[:-9])
    _, events = learn(DPO(base=str(base), save_steps=1, **ADAPTER), stopped)
    assert {event.kind: event.message for event in events}["warning"].startswith("checkpoint checkpoint-4 is damaged")
    assert "going on at step 3 of 6" in {event.message for event in events}
    learn(DPO(base=str(base), **ADAPTER), tmp_path / "whole")
    expected, found = weights(tmp_path / "whole"), weights(stopped)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_kill_while_the_student_is_merged_costs_no_step(
    base: Path, learn: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pillm_hf.training import students

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(students, "merged", killed)
    with pytest.raises(KeyboardInterrupt):
        learn(DPO(base=str(base), **ADAPTER), tmp_path / "out")
    monkeypatch.undo()
    before = weights(tmp_path / "out")
    log, events = learn(DPO(base=str(base), **ADAPTER), tmp_path / "out")
    assert "going on at step 6 of 6" in {event.message for event in events}
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(tmp_path / "out").items())
    assert [entry["step"] for entry in log["log"]] == [1, 2, 3, 4, 5, 6]
    assert log["seconds"] > 0


def test_a_training_with_other_options_does_not_go_on_from_it(base: Path, stopped: Path, learn: Callable[..., Any]) -> None:
    with pytest.raises(pillm.ConfigError, match="other rows, options or versions"):
        learn(DPO(base=str(base), **ADAPTER | {"learning_rate": 1e-3}), stopped)


class Trap:
    """What a pickle can do to who reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_checkpoint_that_would_run_something_is_refused_and_nothing_is_run(
    name: str, base: Path, stopped: Path, learn: Callable[..., Any], tmp_path: Path
) -> None:
    place = stopped / ".checkpoints" / "checkpoint-4"
    seal = json.loads((place / "seal.json").read_text("utf-8"))
    torch.save({"state": Trap(tmp_path / "ran")}, place / name, pickle_module=pickle)
    Seals(place.parent, seal["recipe"], print).put(4, seal["seconds"])
    with pytest.raises(pillm.UnsafeError, match="more than tensors"):
        learn(DPO(base=str(base), **ADAPTER), stopped)
    assert not (tmp_path / "ran").exists()


def test_layers_that_the_base_lacks_are_named(base: Path, learn: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(pillm.ConfigError, match="no_such_layer"):
        learn(DPO(base=str(base), target_modules=["no_such_layer"]), tmp_path / "out")


@pytest.mark.full
def test_a_trained_student_is_exported_with_every_conversation_read_alike(tmp_path: Path) -> None:
    pytest.importorskip("pillm_llamacpp")
    pytest.importorskip("pillm_nano")
    path = tmp_path / "pairs.jsonl"
    asked = ["allume la lumière", "mets 2 œufs sur la liste", "what's the weather?", "ferme la porte"]
    rows = [
        {"id": f"r{n}", "prompt": ask, "chosen": f"Oui, {ask}.", "rejected": "Ça coûte 12,67 $!"} for n, ask in enumerate(asked)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    checkpoint = pillm.train(pillm.read_examples(path), DPO(base="nano-base", **ADAPTER), tmp_path / "train")
    models = list(pillm.export(checkpoint, pillm.exporter("gguf", quants=["Q8_0"], threads=1), tmp_path / "export"))
    assert [model.quant for model in models] == ["Q8_0"]
    proved = models[0].parity
    assert proved
    assert (proved.mismatches, proved.rows > len(list(checkpoint.probes()))) == (0, True)
