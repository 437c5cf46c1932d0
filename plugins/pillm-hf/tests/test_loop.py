"""The training loop: killed anywhere it goes on as if nothing had been, and nonsense stops it before it does harm."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pillm_hf import LoRA
from pillm_hf.trainers.job import train
from pillm_hf.training import checkpoints as checkpoints_module
from pillm_hf.training import students, validating
from pillm_hf.training.checkpoints import FOLDER
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


def run(
    base: Path,
    data: pillm.TrainingData,
    out: Path,
    kill_at: tuple[str, int] | None = None,
    told: Any = None,
    more: dict[str, Any] | None = None,
) -> None:
    """Train in this process; with `kill_at` it kills itself the n-th time that it comes to that place.

    `told` is a queue for what it warned of, `more` are further options.
    """
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
    watched(os, "fsync", "save")
    watched(validating, "scored", "validation")
    watched(students, "merged", "merge")
    remove = checkpoints_module.remove

    def noting(out: Path) -> None:
        passing("end")
        newest = max((out / FOLDER).glob("step-*"), key=lambda place: int(place.name[5:]))
        said = hashlib.sha256((newest / "tensors.safetensors").read_bytes()).hexdigest()
        (out.parent / f"{out.name}.last").write_text(f"{newest.name} {said}", "utf-8")
        remove(out)

    checkpoints_module.remove = noting
    out.mkdir(exist_ok=True)
    seen: list[pillm.Event] = []
    train(LoRA(base=str(base), **FAST | (more or {})), data, out, pillm.Progress("train", (seen.append,)))
    if told:
        told.put([event.message for event in seen if event.kind == "warning"])


def apart(*args: Any) -> int:
    """Run in a process of its own, which may kill itself, and return its exit code."""
    process = multiprocessing.get_context("fork").Process(target=run, args=args)
    process.start()
    process.join()
    return int(process.exitcode or 0)


KILLS = {
    "before anything": ("pass", 1),
    "in the middle of an accumulation": ("pass", 6),
    "at an epoch's edge": ("pass", 11),
    "before the last pass": ("pass", 20),
    "inside a save, its tensors not flushed": ("save", 1),
    "inside a save, before it is renamed": ("save", 3),
    "inside the save of the best weights": ("save", 5),
    "inside a validation": ("validation", 2),
    "before the merge": ("merge", 1),
    "after the merge": ("end", 1),
}


FEW_KILLS = (
    "in the middle of an accumulation",
    "inside a save, before it is renamed",
    "inside a validation",
    "after the merge",
)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("places", [FEW_KILLS, pytest.param(tuple(KILLS), marks=pytest.mark.full)], ids=["four", "ten"])
def test_killed_at_any_place_it_ends_with_the_same_bits(
    base: Path, data: pillm.TrainingData, tmp_path: Path, places: tuple[str, ...]
) -> None:
    assert apart(base, data, tmp_path / "whole") == 0
    expected = digest_of(tmp_path / "whole")
    for number, where in enumerate(places):
        out = tmp_path / str(number)
        assert apart(base, data, out, KILLS[where]) == -signal.SIGKILL, where
        assert apart(base, data, out) == 0, where
        assert digest_of(out) == expected, where
        assert not (out / FOLDER).exists()
    print(f"{len(places)} of {len(places)} kills end with the same weights, optimiser and log")


@pytest.mark.full
@pytest.mark.parametrize("grid", ["Q4_0", "IQ4_NL"])
def test_killed_while_weights_are_rounded_it_ends_with_the_same_bits(
    base: Path, data: pillm.TrainingData, tmp_path: Path, grid: str
) -> None:
    more = {"quantization_aware": {"type": grid, "share": 0.7}, "learning_rate": 2e-2}
    assert apart(base, data, tmp_path / "whole", None, None, more) == 0
    for place, number in (("pass", 6), ("pass", 14), ("validation", 2), ("end", 1)):
        out = tmp_path / f"{place}-{number}"
        assert apart(base, data, out, (place, number), None, more) == -signal.SIGKILL, (place, number)
        assert apart(base, data, out, None, None, more) == 0
        assert digest_of(out) == digest_of(tmp_path / "whole"), (place, number)


def _flip(newest: Path) -> None:
    tensors = newest / "tensors.safetensors"
    content = bytearray(tensors.read_bytes())
    content[-9] ^= 4
    tensors.write_bytes(content)


def _name_another_hash(newest: Path) -> None:
    said = json.loads((newest / "state.json").read_text("utf-8"))
    (newest / "state.json").write_text(json.dumps(said | {"sha256": "0" * 64}), "utf-8")


def _spoil_best(newest: Path) -> None:
    best = json.loads((newest / "state.json").read_text("utf-8"))["state"]["best"]["file"]
    (newest.parent / best).write_bytes(b"nothing")


HARMS: dict[str, Callable[[Path], object]] = {
    "a bit flipped": _flip,
    "truncated": lambda newest: os.truncate(newest / "tensors.safetensors", 1000),
    "empty": lambda newest: os.truncate(newest / "tensors.safetensors", 0),
    "a file missing": lambda newest: (newest / "tensors.safetensors").unlink(),
    "another hash": _name_another_hash,
    "its state truncated": lambda newest: (newest / "state.json").write_text('{"step": 8'),
    "its best weights spoilt": _spoil_best,
}


FEW_HARMS = ("a bit flipped", "its state truncated", "its best weights spoilt")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("harms", [FEW_HARMS, pytest.param(tuple(HARMS), marks=pytest.mark.full)], ids=["three", "all"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    base: Path, data: pillm.TrainingData, tmp_path: Path, harms: tuple[str, ...]
) -> None:
    assert apart(base, data, tmp_path / "whole") == 0
    assert apart(base, data, tmp_path / "killed", ("pass", 18)) == -signal.SIGKILL
    whole = digest_of(tmp_path / "whole")
    for number, harm in enumerate(harms):
        out = Path(shutil.copytree(tmp_path / "killed", tmp_path / str(number)))
        newest = max((out / FOLDER).glob("step-*"), key=lambda place: int(place.name[5:]))
        HARMS[harm](newest)
        queue = multiprocessing.get_context("fork").Queue()
        assert apart(base, data, out, None, queue) == 0, harm
        warned = queue.get(timeout=60)
        assert any(f"checkpoint {newest.name} is damaged" in text for text in warned), harm
        assert digest_of(out) == whole, harm
    print(f"{len(harms)} of {len(harms)} damaged checkpoints were passed over, and the training ended with the same bits")


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
