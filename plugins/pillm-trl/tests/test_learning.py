"""What TRL is given, what it tells anybody, and when it is stopped."""

from __future__ import annotations

import logging
import os
import random
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from pillm_hf.rows.opening import load_chat
from pillm_hf.rows.text import encode
from pillm_trl import DPO
from pillm_trl.learning import Learner

import pillm

FAST: dict[str, Any] = {"num_train_epochs": 1, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1,
                        "learning_rate": 1e-3, "dtype": "float32", "rank": 4, "logging_steps": 1}  # fmt: skip


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """Return a list that fills with what each training pass reads."""
    seen: list[dict[str, torch.Tensor]] = []
    real = Learner.training_step

    def watched(self: Learner, model: Any, inputs: dict[str, torch.Tensor], *more: Any) -> torch.Tensor:
        seen.append({name: tensor.clone() for name, tensor in inputs.items()})
        return real(self, model, inputs, *more)

    monkeypatch.setattr(Learner, "training_step", watched)
    return seen


@pytest.mark.parametrize("options", [{}, {"precompute_ref_log_probs": True}], ids=["as it goes", "precomputed"])
def test_the_ids_that_are_trained_on_are_the_encoders_and_the_last_one_ends_the_turn(
    options: dict[str, Any], base: Path, data: pillm.TrainingData, learn: Callable[..., Any], passes: list[Any], tmp_path: Path
) -> None:
    learn(DPO(base=str(base), **FAST, **options), tmp_path / "out")
    chat = load_chat(base)
    wanted = {tuple(row.ids[: row.end]): row.start for row in encode(data.train, pillm.Contract(), chat, 200).rows}
    got: dict[tuple[int, ...], int] = {}
    worse = set()
    for batch in passes:
        half = len(batch["input_ids"]) // 2
        for number, (ids, seen, learnt) in enumerate(
            zip(batch["input_ids"], batch["attention_mask"], batch["completion_mask"], strict=True)
        ):
            sequence = tuple(ids[seen.bool()].tolist())
            start = int(seen.sum() - learnt.sum())
            assert learnt[start : len(sequence)].all(), "the answer is one stretch, up to the end"
            assert sequence[-1] == chat.end_of_turn.id != chat.tokenizer.eos_token_id
            if number < half:
                got[sequence] = start
            else:
                worse.add(chat.tokenizer.decode(sequence[start:]))
    assert got == wanted
    assert worse == {f"{example.rejected.content}<|im_end|>" for example in data.train if example.rejected}


def test_nobody_is_told_and_nothing_is_printed(
    base: Path, learn: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants
    from trl.trainer import base_trainer

    def refused(*said: Any, **more: Any) -> None:
        raise AssertionError(f"told somebody: {said} {more}")

    monkeypatch.setattr(base_trainer, "send_telemetry", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    capfd.readouterr()
    learn(DPO(base=str(base), precompute_ref_log_probs=True, save_steps=1, **FAST), tmp_path / "out")
    assert capfd.readouterr() == ("", "")


def test_what_the_process_had_set_is_as_before(
    base: Path, learn: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    random.seed(1)
    numpy.random.seed(1)
    torch.manual_seed(1)

    def state() -> list[Any]:
        levels = [logging.getLogger(name).level for name in ("trl", "transformers", "accelerate")]
        draws = [random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]  # type: ignore[index]
        return [dict(os.environ), constants.HF_HUB_OFFLINE, levels, draws, list(warnings.filters)]

    before = state()
    learn(DPO(base=str(base), **FAST), tmp_path / "out")
    assert [one == other for one, other in zip(state(), before, strict=True)] == [True] * 5


@pytest.mark.parametrize("what", [pytest.param("loss", marks=pytest.mark.full), "gradient"])
def test_a_number_that_is_none_stops_the_training_before_a_weight_or_a_checkpoint_has_it(
    what: str, base: Path, learn: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Learner.compute_loss

    def spoilt(self: Learner, model: Any, *given: Any, **more: Any) -> torch.Tensor:
        loss = real(self, model, *given, **more)
        if self.model.training and self.state.global_step == 2:
            if what == "loss":
                return loss * float("nan")
            loss.register_hook(lambda gradient: gradient * float("nan"))
        return loss

    monkeypatch.setattr(Learner, "compute_loss", spoilt)
    out = tmp_path / "out"
    with pytest.raises(pillm.BackendError, match=f"{what}.* at step 3; the step was not taken"):
        learn(DPO(base=str(base), save_steps=1, **FAST), out)
    kept = sorted(place.name for place in (out / ".checkpoints").iterdir())
    assert kept == ["checkpoint-1", "checkpoint-2"], "and no model card of TRL's beside them"
    monkeypatch.undo()
    log, events = learn(DPO(base=str(base), save_steps=1, **FAST), out)
    assert "going on at step 2 of 3" in {event.message for event in events}
    assert log["steps"] == 3


@pytest.mark.parametrize(
    ("options", "ways"),
    [
        ({}, "Set per_device_train_batch_size=2 and gradient_accumulation_steps=2, or gradient_checkpointing=true, or a"),
        ({"per_device_train_batch_size": 1, "gradient_checkpointing": True, "adapter": False, "rank": 16},
         "Set precompute_ref_log_probs=true, or adapter=true, or a max_length below 1024"),
    ],
)  # fmt: skip
def test_memory_that_runs_out_is_told_with_the_options_that_take_less(
    options: dict[str, Any], ways: str, base: Path, learn: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Learner, "compute_loss", full)
    with pytest.raises(pillm.BackendError, match=ways):
        learn(DPO(base=str(base), **FAST | options), tmp_path / "out")


def test_dropout_is_the_adapters_alone_and_the_reference_is_the_base(
    base: Path, learn: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    real = Learner.train

    def watched(self: Learner, **more: Any) -> Any:
        rates = {module.p for module in self.model.modules() if isinstance(module, torch.nn.Dropout)}
        seen.append((rates, list(self.model.peft_config), self.ref_model))
        return real(self, **more)

    monkeypatch.setattr(Learner, "train", watched)
    learn(DPO(base=str(base), dropout=0.25, **FAST), tmp_path / "out")
    assert seen == [({0.25}, ["default"], None)]
    assert all(path.is_file() for path in (tmp_path / "out" / "adapter").iterdir()), "and no second adapter is kept"
