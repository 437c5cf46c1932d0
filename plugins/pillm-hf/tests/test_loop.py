"""The training loop: killed anywhere it goes on as if nothing had been, and nonsense stops it before it does harm."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pillm_hf import Full, LoRA
from pillm_hf.models.loading import load_model
from pillm_hf.training import checkpoints as checkpoints_module
from pillm_hf.training.checkpoints import FOLDER
from pillm_hf.training.job import train
from pillm_hf.training.loop import Loop

import pillm

FAST = {
    "num_train_epochs": 2, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "learning_rate": 5e-3,
    "rank": 4, "dropout": 0.1, "logging_steps": 1, "save_steps": 2, "eval_steps": 3, "dtype": "float32",
}  # fmt: skip
"""Twenty rows: five optimiser steps an epoch, of two passes each; dropout draws random numbers all along."""


def digest_of(out: Path) -> dict[str, str]:
    """Return hashes of the weights and of the optimiser's last checkpoint, and the losses of the log."""
    log = json.loads((out / "training.json").read_text("utf-8"))
    losses = [[entry["step"], entry["loss"], entry["learning_rate"]] for entry in log["log"]]
    return {
        "weights": hashlib.sha256((out / "adapter" / "adapter_model.safetensors").read_bytes()).hexdigest(),
        "optimiser": (out.parent / f"{out.name}.last").read_text("utf-8"),
        "log": json.dumps([losses, log["validation"]]),
    }


def run(base: Path, data: pillm.TrainingData, out: Path, kill_at: tuple[str, int] | None = None) -> None:
    """Train in this process; with `kill_at` it kills itself the n-th time that it comes to that place."""
    torch.set_num_threads(1)
    left = {"n": kill_at[1] if kill_at else 0}

    def passing(place: str) -> None:
        if kill_at and kill_at[0] == place:
            left["n"] -= 1
            if left["n"] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def watched(owner: Any, name: str, place: str) -> None:
        plain = getattr(owner, name)

        def watching(*args: Any, **more: Any) -> Any:
            passing(place)
            return plain(*args, **more)

        setattr(owner, name, watching)

    watched(Loop, "_loss", "pass")
    watched(checkpoints_module, "_flush", "save")
    watched(Loop, "_validate", "validation")
    remove = checkpoints_module.remove

    def noting(folder: Path) -> None:
        passing("end")
        recipe = json.loads(next(folder.glob("step-10/state.json")).read_text("utf-8"))["recipe"]
        newest = checkpoints_module.Checkpoints(folder, recipe, print).newest()
        assert newest
        kept = {name: tensor.numpy().tobytes() for name, tensor in sorted(newest[0].items())}
        said = hashlib.sha256(repr(sorted((name, hashlib.sha256(b).hexdigest()) for name, b in kept.items())).encode())
        (out.parent / f"{out.name}.last").write_text(said.hexdigest(), "utf-8")
        remove(folder)

    checkpoints_module.remove = noting
    out.mkdir(exist_ok=True)
    train(LoRA(base=str(base), **FAST), data, out, pillm.Progress("train"))


def apart(*args: Any) -> int:
    """Run in a process of its own, which may kill itself, and return its exit code."""
    process = multiprocessing.get_context("fork").Process(target=run, args=args)
    process.start()
    process.join()
    return int(process.exitcode or 0)


KILLS = [
    ("pass", 1), ("pass", 6), ("pass", 11), ("pass", 16), ("save", 1), ("save", 3), ("save", 5), ("save", 11),
    ("validation", 2), ("end", 1),
]  # fmt: skip
"""Before anything, in the middle of an accumulation, at an epoch's edge, inside saves, before a validation, after the merge."""


def test_killed_at_ten_places_it_ends_with_the_same_bits(base: Path, data: pillm.TrainingData, tmp_path: Path) -> None:
    assert apart(base, data, tmp_path / "whole") == 0
    expected = digest_of(tmp_path / "whole")
    same = 0
    for place, number in KILLS:
        out = tmp_path / f"{place}-{number}"
        assert apart(base, data, out, (place, number)) == -signal.SIGKILL, (place, number)
        assert apart(base, data, out) == 0
        assert digest_of(out) == expected, (place, number)
        assert not (out / FOLDER).exists()
        same += 1
    print(f"{same} of {len(KILLS)} kills end with the same weights, optimiser and log")


@pytest.mark.parametrize("harm", ["flipped", "cut", "gone", "state", "best"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    base: Path, data: pillm.TrainingData, tmp_path: Path, harm: str
) -> None:
    assert apart(base, data, tmp_path / "whole") == 0
    out = tmp_path / "out"
    assert apart(base, data, out, ("pass", 18)) == -signal.SIGKILL
    newest = max((out / FOLDER).glob("step-*"), key=lambda place: int(place.name[5:]))
    tensors = newest / "tensors.safetensors"
    if harm == "flipped":
        content = bytearray(tensors.read_bytes())
        content[-9] ^= 4
        tensors.write_bytes(content)
    elif harm == "cut":
        tensors.write_bytes(tensors.read_bytes()[:-100])
    elif harm == "gone":
        tensors.unlink()
    elif harm == "state":
        (newest / "state.json").write_text('{"step": 8')
    else:
        best = json.loads((newest / "state.json").read_text("utf-8"))["state"]["best"]["file"]
        (out / FOLDER / best).write_bytes(b"nothing")
    seen: list[pillm.Event] = []
    torch.set_num_threads(1)
    train(LoRA(base=str(base), **FAST), data, out, pillm.Progress("train", (seen.append,)))
    warned = [event.message for event in seen if event.kind == "warning"]
    assert any(f"checkpoint {newest.name} is damaged" in text for text in warned)
    whole = (tmp_path / "whole" / "adapter" / "adapter_model.safetensors").read_bytes()
    assert (out / "adapter" / "adapter_model.safetensors").read_bytes() == whole


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e9])
def test_a_loss_that_is_nonsense_stops_before_anything_worse_is_saved(
    base: Path, data: pillm.TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    plain, calls = Loop._loss, []

    def harmed(self: Loop, batch: Any) -> torch.Tensor:
        calls.append(1)
        return plain(self, batch) * (value if len(calls) == 11 else 1)

    monkeypatch.setattr(Loop, "_loss", harmed)
    with pytest.raises(pillm.BackendError, match=r"at step 6; the step was not taken"):
        train(LoRA(base=str(base), **FAST), data, tmp_path, pillm.Progress("train"))
    steps = sorted(int(place.name[5:]) for place in (tmp_path / FOLDER).glob("step-*"))
    assert steps
    assert max(steps) <= 5


def test_checkpoints_of_another_training_are_refused_and_left_alone(
    base: Path, data: pillm.TrainingData, tmp_path: Path
) -> None:
    assert apart(base, data, tmp_path / "out", ("pass", 16)) == -signal.SIGKILL
    before = sorted(path.name for path in (tmp_path / "out" / FOLDER).iterdir())
    with pytest.raises(pillm.ConfigError, match="is of a training with other rows, options or versions"):
        train(LoRA(base=str(base), **{**FAST, "learning_rate": 1e-3}), data, tmp_path / "out", pillm.Progress("train"))
    assert sorted(path.name for path in (tmp_path / "out" / FOLDER).iterdir()) == before


def test_it_stops_early_and_ends_with_the_best_weights(
    base: Path, data: pillm.TrainingData, rows: Callable[..., pillm.Rows], pairs: list[Any], tmp_path: Path
) -> None:
    other = rows([(ask, "x" * 20) for ask, _ in pairs[:4]])  # what is learnt makes these worse, sooner or later
    data = replace(data, validation=other)
    options = {**FAST, "num_train_epochs": 40, "early_stopping_patience": 2, "learning_rate": 2e-2}
    seen: list[pillm.Event] = []
    train(LoRA(base=str(base), **options), data, tmp_path, pillm.Progress("train", (seen.append,)))
    log = json.loads((tmp_path / "training.json").read_text("utf-8"))
    losses = [entry["validation_loss"] for entry in log["validation"]]
    assert log["steps"] < 200
    assert min(losses) == losses[-3]
    assert any(f"no better than step {log['validation'][-3]['step']}" in event.message for event in seen)
    assert log["best"] == {"step": log["validation"][-3]["step"], "loss": min(losses)}


def test_eight_rows_at_once_train_as_eight_one_by_one(base: Path, data: pillm.TrainingData, tmp_path: Path) -> None:
    def weights(name: str, rows: int, passes: int) -> dict[str, torch.Tensor]:
        options = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": passes, "num_train_epochs": 1}
        out = tmp_path / name
        out.mkdir()
        train(
            Full(base=str(base), dtype="float32", save_dtype="float16", learning_rate=1e-3, **options),
            data,
            out,
            pillm.Progress(),
        )
        return dict(load_model(out, torch.float32).named_parameters())

    together, alone = weights("a", 8, 1), weights("b", 1, 8)
    for name, weight in together.items():
        torch.testing.assert_close(weight, alone[name], rtol=2e-3, atol=2e-4)
