"""What a training will take, told before it starts."""

from __future__ import annotations

import json
import multiprocessing
import resource
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from pillm_hf import Full, LoRA, QLoRA
from pillm_hf.distilling.footprint import teacher_bytes
from pillm_hf.models.loading import load_model
from pillm_hf.options.distillation import Distillation
from pillm_hf.rows.text import Encoded
from pillm_hf.trainers.job import train
from pillm_hf.training import alternatives, planning
from pillm_hf.training.loop import Loop
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
    assert "It does not fit. Set per_device_train_batch_size=" in told.advice
    assert "(gradient_checkpointing)" in told.advice


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list that grows with each timed loop: whether it computes activations again."""
    seen: list[bool] = []
    begun = Loop.training

    def training(loop: Loop, sample: Encoded) -> Any:
        seen.append(loop.checkpointing)
        return begun(loop, sample)

    monkeypatch.setattr(Loop, "training", training)
    return seen


def test_timed_steps_compute_activations_again_where_the_training_will(
    base: Path, data: pillm.TrainingData, passes: list[bool]
) -> None:
    for asked in (True, False):
        told = LoRA(base=str(base), gradient_checkpointing=asked, **FAST).forecast(data)
        assert told is not None
        assert told.seconds is not None
    assert passes == [True, False]


def test_an_architecture_that_cannot_be_traced_is_forecast_without_memory_and_time(
    base: Path, data: pillm.TrainingData, monkeypatch: pytest.MonkeyPatch, passes: list[bool]
) -> None:
    def refuse(*_: Any) -> Any:
        raise NotImplementedError

    monkeypatch.setattr(planning, "_kept", refuse)
    told = LoRA(base=str(base), **FAST).forecast(data)
    assert told is not None
    assert (told.memory_bytes, told.seconds, passes) == (None, None, [])
    assert told.fits
    assert told.steps > 0
    assert "cannot be traced" in told.advice
    assert "an unknown amount of memory" in told.memory


def test_memory_that_runs_out_while_steps_are_timed_is_told_and_ends_nothing(
    base: Path, data: pillm.TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_out(*_: Any) -> Any:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Loop, "step", run_out)
    told = LoRA(base=str(base), **FAST).forecast(data)
    assert told is not None
    assert told.seconds is None
    assert told.advice.startswith("Memory ran out while steps were timed. Set per_device_train_batch_size=")


@pytest.mark.parametrize("source", ["teacher", "student"])
def test_a_teacher_that_stays_in_memory_is_counted_and_told_to_be_untimed(
    source: str, base: Path, qwen: Path, data: pillm.TrainingData
) -> None:
    distill = {"source": source, "teacher": str(qwen)}
    options = LoRA(base=str(base), dtype="float32", **FAST)
    told = options.model_copy(update={"distill": Distillation(**distill)}).forecast(data)
    assert told is not None
    assert "the time that it takes is not" in told.advice
    many, weights = encoded(8, 64), sum(part.numel() for part in load_model(qwen, torch.float32).parameters())
    asked = partial(need, options, base, largest(many, 4), torch.float32, checkpointing=False)
    found = teacher_bytes(LoRA(base=str(base), distill=distill), None, torch.float32)
    assert found == 4 * weights
    assert asked(beside=found).held == asked().held + 4 * weights


def test_a_teacher_is_counted_in_what_does_not_fit(
    base: Path, qwen: Path, data: pillm.TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, options = encoded(8, 64), LoRA(base=str(base), gradient_checkpointing=False, dtype="float32", **FAST)
    room = need(options, base, largest(rows, 4), torch.float32, checkpointing=False).taken("cpu")
    monkeypatch.setattr(planning, "free_bytes", lambda _device: room)
    monkeypatch.setattr(alternatives, "free_bytes", lambda _device: room)
    taught = options.model_copy(update={"distill": Distillation(source="teacher", teacher=str(qwen))})
    assert "It does not fit" not in planning.forecast(options, rows, base, torch.float32, None).advice
    assert "It does not fit" in planning.forecast(taught, rows, base, torch.float32, None).advice


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


def _told(options: pillm.Trainer, data: pillm.TrainingData, told: Any) -> None:
    """Forecast in a process of its own: what an earlier one holds is counted in."""
    torch.set_num_threads(1)
    found = options.forecast(data)
    assert found
    told.put(found.memory_bytes)


def _took(options: pillm.Trainer, data: pillm.TrainingData, out: Path, told: Any) -> None:
    torch.set_num_threads(1)
    out.mkdir()
    options.train(data, out, pillm.Progress())
    told.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def _timed(options: pillm.Trainer, data: pillm.TrainingData, out: Path, told: Any) -> None:
    """Forecast and train in turn, for a neighbour may be busy for a while."""
    torch.set_num_threads(1)
    pairs = []
    for number in range(3):
        found = options.forecast(data)
        assert found
        folder = out / str(number)
        folder.mkdir(parents=True)
        options.train(data, folder, pillm.Progress())
        pairs.append((found.seconds, json.loads((folder / "training.json").read_text("utf-8"))["seconds"]))
    told.put(pairs)


def _apart(work: Any, *args: Any) -> Any:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=work, args=(*args, queue))
    child.start()
    found = queue.get(timeout=900)
    child.join()
    return found


def _case(kind: type[Any], size: int, count: int, make: Any, rows: Any, folder: Path) -> tuple[Any, pillm.TrainingData]:
    long = rows([(f"{n} " + "lac pont neige " * (10 + n % 16), "érable minuit " * 12) for n in range(count)])
    data = pillm.TrainingData(train=long, validation=rows([("a", "b")]), calibration=rows([("a", "b")]), seed=3)
    base = str(_model(folder / "base", make))
    return kind(base=base, per_device_train_batch_size=size, num_train_epochs=1, dtype="float32"), data


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("size", [8, 32])
@pytest.mark.parametrize("kind", [LoRA, QLoRA, Full])
def test_the_memory_that_was_forecast_is_what_it_takes_within_a_quarter(
    kind: type[Any], size: int, make: Any, rows: Any, tmp_path: Path
) -> None:
    options, data = _case(kind, size, 2 * size, make, rows, tmp_path)
    forecast, took = _apart(_told, options, data), _apart(_took, options, data, tmp_path / "out")
    print(f"{kind.name}, {size} rows at a time: {forecast >> 20} MiB forecast, {took >> 20} MiB taken")
    assert abs(forecast - took) <= 0.25 * took


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", [LoRA, QLoRA, Full])
def test_the_time_that_was_forecast_is_what_it_takes_within_a_quarter(
    kind: type[Any], make: Any, rows: Any, tmp_path: Path
) -> None:
    options, data = _case(kind, 4, 48, make, rows, tmp_path)
    pairs = _apart(_timed, options, data, tmp_path / "out")
    print(f"{kind.name}: " + ", ".join(f"{told:.1f} s forecast and {took:.1f} s taken" for told, took in pairs))
    assert abs(median(told / took for told, took in pairs) - 1) <= 0.25
