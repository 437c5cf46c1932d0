"""What a launcher may be asked for, and what goes with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pillm_hf import LoRA, QLoRA
from pillm_hf.options import launcher
from pillm_hf.options.launcher import Launcher, require_gpus
from pydantic import ValidationError

import pillm


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"processes": 0}, "greater than or equal to 1"),
        ({"processes": 3, "machines": 2, "main_process_ip": "a"}, "shared out evenly over 2 machines"),
        ({"processes": 2, "machines": 2}, "several machines need main_process_ip"),
        ({"processes": 2, "machine_rank": 1}, "none of 1 machines"),
        ({"processes": 2, "main_process_ip": "a"}, "only counts with several machines"),
        ({"processes": 2, "zero_stage": 2}, "only counts with strategy=deepspeed"),
        ({"processes": 2, "main_process_port": 70000}, "less than or equal to 65535"),
        ({"processes": 2, "backend": "gloo"}, "Extra inputs are not permitted"),
    ],
)
def test_a_launcher_without_sense_is_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Launcher(**options)


@pytest.mark.parametrize(
    ("trainer", "options", "why"),
    [
        (QLoRA, {"launcher": {"processes": 2, "strategy": "fsdp2"}}, "a base in 4 bit cannot be parted"),
        (LoRA, {"launcher": {"processes": 2}, "device_map": "auto"}, "each process has a GPU of its own"),
        (LoRA, {"launcher": {"processes": 2, "strategy": "fsdp2"}, "dtype": "float16"}, "float16"),
    ],
)
def test_options_that_do_not_go_with_several_processes_are_refused(trainer: Any, options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        trainer(base="nano-base", **options)
    assert QLoRA(base="nano-base", launcher={"processes": 2}).launcher == Launcher(processes=2)


def test_how_many_processes_train_is_no_part_of_the_key(base: Path) -> None:
    assert LoRA(base=str(base), launcher={"processes": 2}).identity() == LoRA(base=str(base)).identity()


def test_gpus_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    require_gpus(Launcher(processes=2), None)
    with pytest.raises(pillm.ConfigError, match="torch can use 0"):
        require_gpus(Launcher(processes=2), "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(pillm.ConfigError, match="2 processes on this machine need a GPU each, and torch can use 1"):
        require_gpus(Launcher(processes=2), None)
    require_gpus(Launcher(processes=2, machines=2, main_process_ip="a"), None)
    require_gpus(Launcher(processes=2), "cpu")


def test_deepspeed_that_is_not_installed_is_told_with_what_to_use_instead(
    base: Path, data: pillm.TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "find_spec", lambda _: None)
    asked = {"launcher": {"processes": 2, "strategy": "deepspeed"}}
    with pytest.raises(pillm.MissingDependency, match=r"pip install deepspeed.*strategy=fsdp2"):
        LoRA(base=str(base), **asked).train(data, tmp_path, pillm.Progress())
    with pytest.raises(pillm.MissingDependency):
        LoRA(base=str(base), **asked).check()
