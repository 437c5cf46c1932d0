"""What one of several processes holds of a student, and what memory it may count on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pillm_hf import Full, LoRA
from pillm_hf.rows.text import Encoded
from pillm_hf.training import parting, planning
from pillm_hf.training.planning import largest, need

FSDP = {"strategy": "fsdp2"}
ZERO = {"strategy": "deepspeed", "zero_stage": 3}


def encoded(count: int, length: int) -> list[Encoded]:
    return [Encoded(str(n), (), "", [5 + place % 200 for place in range(length)], 8, length) for n in range(count)]


def held(trainer: type[Any], base: Path, launcher: dict[str, Any] | None, processes: int = 8) -> int:
    options = trainer(base=str(base), launcher=launcher and {"processes": processes, **launcher})
    return need(options, base, largest(encoded(4, 32), 4), torch.float32, checkpointing=False).held


@pytest.mark.parametrize("trainer", [LoRA, Full])
@pytest.mark.parametrize("launcher", [FSDP, ZERO])
def test_what_is_parted_is_planned_for_its_part_beside_table_and_layer(
    trainer: type[Any], launcher: dict[str, Any], base: Path
) -> None:
    whole, two, eight = (held(trainer, base, given, count) for given, count in ((None, 1), (launcher, 2), (launcher, 8)))
    assert eight < two
    assert eight < whole
    gathered = held(trainer, base, launcher, 4096)
    more = 8 * (eight - gathered) - whole  # DeepSpeed's second copy of the gradients
    assert more >= -4096 if launcher is ZERO else abs(more) < 4096


@pytest.mark.parametrize("launcher", [{"strategy": "ddp"}, {"strategy": "deepspeed"}])
def test_what_each_process_holds_whole_is_planned_whole(launcher: dict[str, Any], base: Path) -> None:
    assert held(Full, base, launcher) == held(Full, base, None)


def test_processes_of_a_machine_share_a_processors_memory_and_no_gpus(base: Path) -> None:
    options = LoRA(base=str(base), launcher={"processes": 4, "machines": 2, "main_process_ip": "10.0.0.5"})
    assert parting.share(options, 100, "cpu") == 50
    assert parting.share(options, 100, "cuda") == 100
    assert parting.share(options, None, "cpu") is None
    assert parting.share(LoRA(base=str(base)), 100, "cpu") == 100


def test_a_forecast_for_several_processes_says_whose_memory_and_time_it_tells(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = encoded(8, 64)
    options = Full(base=str(base), launcher={"processes": 2, "strategy": "fsdp2"}, gradient_checkpointing=False)
    told = planning.forecast(options, rows, base, torch.float32, None)
    assert told.seconds is not None
    assert "each of 2 processes" in told.advice
    alone = options.model_copy(update={"launcher": None})
    room = need(alone, base, largest(rows, 8), torch.float32, checkpointing=False).taken("cpu") - 1
    monkeypatch.setattr(parting, "share", lambda _options, free, _device: free)  # as where each has a GPU of its own
    monkeypatch.setattr(planning, "free_bytes", lambda _device: room)
    told = planning.forecast(options, rows, base, torch.float32, None)
    assert told.fits
    assert told.seconds is None
    assert "not timed" in told.advice
