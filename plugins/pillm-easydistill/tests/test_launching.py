"""How EasyDistill is started on machines with and without GPUs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pillm_easydistill import EasyDistillTrainer
from pillm_easydistill.installation import require
from pillm_easydistill.jobfiles import JobFiles
from pillm_easydistill.launching import Command, command

Standin = Callable[..., Path]


@pytest.fixture
def ask(standin: Standin, tmp_path: Path) -> Callable[..., Command]:
    standin("v1")
    found = require(None, "v1")

    def asked(gpus: int, **options: Any) -> Command:
        return command(EasyDistillTrainer(base="b", **options), found, JobFiles(tmp_path), gpus)

    return asked


def test_without_a_gpu_the_script_is_a_plain_single_process(ask: Callable[..., Command]) -> None:
    argv = ask(0).argv
    assert argv[0] == sys.executable
    assert argv[1].endswith("/easydistill/kd/train.py")
    assert argv[2] == "--config"
    assert ask(0).environment == {}


def test_with_gpus_accelerate_starts_one_process_on_each(ask: Callable[..., Command], tmp_path: Path) -> None:
    argv = ask(4).argv
    assert argv[1:3] == ("-m", "accelerate.commands.launch")
    settings = yaml.safe_load((tmp_path / "accelerate.yaml").read_text("utf-8"))
    assert (settings["distributed_type"], settings["num_processes"], settings["use_cpu"]) == ("MULTI_GPU", 4, False)


def test_a_configuration_of_ones_own_is_given_to_accelerate(ask: Callable[..., Command], tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    argv = ask(2, accelerate_config=own).argv
    assert argv[argv.index("--config_file") + 1] == str(own)
    assert not (tmp_path / "accelerate.yaml").exists()


def test_a_white_box_job_is_one_process_on_one_gpu(ask: Callable[..., Command], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    white = {"job_type": "kd_white_box_train_only", "teacher": "t", "gradient_accumulation_steps": 1}
    assert ask(2, **white).environment == {"CUDA_VISIBLE_DEVICES": "3"}
    assert "accelerate.commands.launch" not in ask(2, **white).argv


def test_its_own_command_finds_the_same_python_by_name(ask: Callable[..., Command]) -> None:
    asked = ask(0, launch="cli")
    assert asked.argv[1:3] == ("-m", "easydistill.cli")
    assert asked.environment["PATH"].startswith(str(Path(sys.executable).parent))
