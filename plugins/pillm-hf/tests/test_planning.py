"""What a training will take, told before it starts."""

from __future__ import annotations

import json
import multiprocessing
import resource
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pillm_hf import Full, LoRA, QLoRA
from pillm_hf.rows.text import Encoded
from pillm_hf.training import planning
from pillm_hf.training.job import train
from pillm_hf.training.planning import chosen_checkpointing, largest, need

import pillm

FAST = {"num_train_epochs": 2, "per_device_train_batch_size": 4}


def encoded(count: int, length: int) -> list[Encoded]:
    ids = [5 + place % 200 for place in range(length)]
    return [Encoded(str(n), (), "", ids[: length - n % 3], 8, length - n % 3) for n in range(count)]


def test_a_forecast_counts_rows_steps_and_tokens_and_writes_nothing(
    base: Path, data: pillm.TrainingData, tmp_path: Path
) -> None:
    told = LoRA(base=str(base), **FAST).forecast(data)
    assert told is not None
    (tmp_path / "out").mkdir()
    train(LoRA(base=str(base), **FAST), data, tmp_path / "out", pillm.Progress())
    log = json.loads((tmp_path / "out" / "training.json").read_text("utf-8"))
    assert (told.rows, told.steps, told.tokens) == (log["rows"], log["steps"], log["tokens"])
    assert told.fits
    assert told.seconds is not None
    assert told.seconds > 0


def test_a_base_that_is_not_here_is_not_fetched_for_a_forecast(data: pillm.TrainingData) -> None:
    assert LoRA(base="owner/not-here").forecast(data) is None


@pytest.mark.parametrize("trainer", [LoRA, QLoRA, Full])
def test_more_rows_at_once_need_more_memory_and_checkpointing_needs_less(trainer: type[Any], base: Path) -> None:
    def bytes_of(count: int, *, checkpointing: bool = False) -> int:
        options = trainer(base=str(base), per_device_train_batch_size=count)
        return need(options, base, largest(encoded(count, 200), count), torch.float32, checkpointing=checkpointing).bytes

    assert bytes_of(64) > 1.5 * bytes_of(8)
    assert bytes_of(64, checkpointing=True) < 0.8 * bytes_of(64)


def test_activations_are_computed_again_only_where_memory_would_not_hold_them(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many, options = encoded(64, 200), LoRA(base=str(base), per_device_train_batch_size=64)
    for free, expected in ((2**40, False), (2**20, True), (None, False)):
        monkeypatch.setattr(planning, "free_bytes", partial(_free, free))
        assert chosen_checkpointing(options, base, many, torch.float32) is expected
    told = options.model_copy(update={"gradient_checkpointing": False})
    monkeypatch.setattr(planning, "free_bytes", lambda _device: 1)
    assert not chosen_checkpointing(told, base, many, torch.float32)


def test_what_does_not_fit_is_said_with_the_options_that_would(
    base: Path, data: pillm.TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "free_bytes", lambda _device: 2**20)
    told = LoRA(base=str(base), **FAST).forecast(data)
    assert told is not None
    assert not told.fits
    assert told.seconds is None
    assert "per_device_train_batch_size" in told.advice
    assert "gradient_checkpointing" in told.advice


def _free(free: int | None, _device: str) -> int | None:
    return free


def _model(folder: Path, make: Any) -> Path:
    """Write a model whose activations are much of what a training takes."""
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    make(folder)
    shape = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 4}
    size = len(AutoTokenizer.from_pretrained(folder))
    config = Qwen2Config(
        vocab_size=size, num_key_value_heads=2, tie_word_embeddings=True, eos_token_id=2, pad_token_id=0, **shape
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


def _peak(options: pillm.Trainer, data: pillm.TrainingData, out: Path, told: Any) -> None:
    torch.set_num_threads(2)
    out.mkdir()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    options.train(data, out, pillm.Progress())
    told.put((before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


@pytest.mark.full
@pytest.mark.parametrize("kind", [LoRA, Full])
def test_the_memory_that_was_forecast_is_what_it_takes_within_a_quarter(
    kind: type[Any], make: Any, rows: Any, data: pillm.TrainingData, tmp_path: Path
) -> None:
    base = _model(tmp_path / "base", make)
    long = rows([(f"{n} " + "lac pont neige " * 25, "érable minuit " * 12) for n in range(64)])
    data = replace(data, train=long, validation=rows([("a", "b")]), probes=())
    options = kind(base=str(base), per_device_train_batch_size=32, num_train_epochs=1, dtype="float32")
    told = options.forecast(data)
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=_peak, args=(options, data, tmp_path / "out", queue))
    child.start()
    before, most = queue.get(timeout=300)
    child.join()
    print(f"{kind.name}: forecast {told.memory_bytes >> 20} MiB, took {most >> 20} MiB, {before >> 20} MiB before")
    assert abs(told.memory_bytes - most) <= 0.25 * most
