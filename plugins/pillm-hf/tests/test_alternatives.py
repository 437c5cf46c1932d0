"""Where memory runs out, the options that are named do fit: tried with a real limit on the process."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import re
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pillm_hf import Full, LoRA, QLoRA
from pillm_hf.rows.opening import load_chat
from pillm_hf.rows.text import Encoded, encode
from pillm_hf.training import alternatives, planning
from pillm_hf.training.alternatives import Alternatives

import pillm

ROOM = 0.4
"""The share of what the training needs that the process may take beside what it holds once it has imported everything."""


def encoded(count: int, length: int) -> list[Encoded]:
    return [Encoded(str(n), (), "", [5 + place % 200 for place in range(length)], 8, length) for n in range(count)]


def advised(free: int | None, monkeypatch: pytest.MonkeyPatch, options: Any, base: Path, *, checkpointing: bool = False) -> str:
    monkeypatch.setattr(alternatives, "free_bytes", lambda _device: free)
    return Alternatives(options, base, encoded(64, 200), torch.float32).advice(checkpointing=checkpointing)


def test_the_fastest_change_that_fits_is_named(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = LoRA(base=str(base), per_device_train_batch_size=16, gradient_accumulation_steps=2)

    def bytes_of(size: int, *, checkpointing: bool) -> int:
        batch = planning.largest(encoded(64, 200), size)
        needed = planning.need(options, base, batch, torch.float32, checkpointing=checkpointing).taken("cpu")
        return int(needed / planning.SPARE) + 1

    half = advised(bytes_of(8, checkpointing=False), monkeypatch, options, base)
    assert half.startswith("Set per_device_train_batch_size=8 and gradient_accumulation_steps=4, which learns the same")
    one = advised(bytes_of(1, checkpointing=False) - 1000, monkeypatch, options, base)
    assert "per_device_train_batch_size=1 and gradient_accumulation_steps=32 and gradient_checkpointing=true" in one
    none = advised(1, monkeypatch, options, base)
    assert none == (
        "Set a max_length under 200, which leaves the longest rows out, or load_in_4bit=true, or choose a smaller base."
    )
    assert "load_in_4bit" not in advised(1, monkeypatch, QLoRA(base=str(base)), base)
    full = advised(1, monkeypatch, Full(base=str(base)), base)
    assert "load_in_4bit" not in full
    assert "launcher.strategy=fsdp2" in full
    assert "fsdp2" not in none
    parted = Full(base=str(base), launcher={"processes": 2, "strategy": "fsdp2"})
    assert "fsdp2" not in advised(1, monkeypatch, parted, base)


def test_what_was_thought_to_fit_and_did_not_is_made_smaller_all_the_same(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = LoRA(base=str(base), per_device_train_batch_size=16)
    assert re.match(r"Set per_device_train_batch_size=(1|2|4|8) ", advised(2**50, monkeypatch, options, base))
    assert "gradient_checkpointing" not in advised(None, monkeypatch, options, base, checkpointing=True)


def test_an_architecture_that_cannot_be_traced_is_halved(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise NotImplementedError

    monkeypatch.setattr(planning, "need", refuse)
    said = advised(1, monkeypatch, LoRA(base=str(base), per_device_train_batch_size=6), base)
    assert said.startswith(
        "Set per_device_train_batch_size=3 and gradient_accumulation_steps=2 and gradient_checkpointing=true"
    )


_M_ARENA_MAX = -8


def _limited(base: Path, data: pillm.TrainingData, out: Path, options: dict[str, Any], told: Any) -> None:
    torch.set_num_threads(1)
    ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)  # each thread's own arena would set aside 64 MiB of what the limit counts
    LoRA(base=str(base), dtype="float32", max_length=64).train(data, out / "first", pillm.Progress())  # imports all there is
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    limit = pages * resource.getpagesize() + options.pop("room")
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        LoRA(base=str(base), dtype="float32", max_length=4096, **options).train(data, out / "second", pillm.Progress())
    except pillm.BackendError as error:
        told.put(str(error))
    else:
        told.put("")


@pytest.mark.full  # long rows, since a small training's forecast is lost in what libraries take
def test_a_training_out_of_memory_names_options_that_fit(
    base: Path, rows: Callable[..., pillm.Rows], data: pillm.TrainingData, tmp_path: Path
) -> None:
    long = rows([("vert", "rouge"), *((f"{n} " + "lac pont " * 300, "neige") for n in range(64))])
    data = replace(data, train=long, validation=rows([("a", "b")]), calibration=rows([("a", "b")]), probes=())
    options: dict[str, Any] = {"num_train_epochs": 1, "per_device_train_batch_size": 64, "gradient_checkpointing": False}
    trainer = LoRA(base=str(base), per_device_train_batch_size=64)
    batch = planning.largest(encode(long, pillm.Contract(), load_chat(base), 4096).rows, 64)
    room = int(ROOM * planning.need(trainer, base, batch, torch.float32, checkpointing=False).bytes)
    context = multiprocessing.get_context("fork")
    said = []
    for name in ("too much", "as told"):
        (tmp_path / name / "first").mkdir(parents=True)
        (tmp_path / name / "second").mkdir()
        queue = context.Queue()
        child = context.Process(target=_limited, args=(base, data, tmp_path / name, options | {"room": room}, queue))
        child.start()
        said.append(queue.get(timeout=200))
        child.join()
        options |= {key: json.loads(value) for key, value in re.findall(r"(\w+)=(\w+)", said[-1].partition("Set ")[2])}
    assert said[0].startswith("memory ran out with per_device_train_batch_size=64; the step was not taken, and checkpoints")
    assert options["per_device_train_batch_size"] * options["gradient_accumulation_steps"] == 64
    assert said[1] == ""
    assert not (tmp_path / "too much" / "second" / "adapter").exists()
    assert (tmp_path / "as told" / "second" / "adapter").is_dir()
