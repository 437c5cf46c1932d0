"""What EasyDistill does wrong is told as such, and nothing is published."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pillm_easydistill import EasyDistillTrainer

import pillm

Standin = Callable[..., Path]


def train(base: Path, data: pillm.TrainingData, out: Path, **options: Any) -> None:
    options = {"num_train_epochs": 1, "launch": "direct", **options}
    EasyDistillTrainer(base=str(base), **options).train(data, out, pillm.Progress())


def test_a_crash_is_a_failure_that_names_its_cause_and_its_log(
    standin: Standin, base: Path, data: pillm.TrainingData, out: Path
) -> None:
    standin("v1", fault="crash")
    with pytest.raises(pillm.BackendError) as caught:
        train(base, data, out)
    said = str(caught.value)
    assert "ended with exit code 1, and it wrote no checkpoint" in said
    assert "It said: RuntimeError: CUDA error: an illegal memory access was encountered. Its whole" in said
    assert "RuntimeError" in Path(said.rpartition("output is in ")[2].rstrip(".")).read_text("utf-8")
    assert not (out / "model.safetensors").exists()


def test_a_crash_behind_its_own_command_ends_with_exit_code_0_and_is_a_failure(
    standin: Standin, base: Path, data: pillm.TrainingData, tmp_path: Path
) -> None:
    standin("v1", fault="crash")
    out = tmp_path / "train"
    out.mkdir()
    with pytest.raises(pillm.BackendError, match=r"ended with exit code 0, and it wrote no checkpoint.*illegal memory access"):
        train(base, data, out, launch="cli")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("refused", r"exit code 0, and it wrote no checkpoint.*Training job terminated: The `max_length` argument is refused"),
        ("no checkpoint", r"exit code 0, and it wrote no checkpoint \(no config.json\); nothing was published"),
        ("not a number", r"the loss is nan after 0 of 2 steps; EasyDistill was stopped"),
        ("killed", r"was ended by SIGKILL.*Most often memory ran out: lower per_device_train_batch_size"),
    ],
)
def test_a_training_without_a_student_is_a_failure(
    fault: str, said: str, standin: Standin, base: Path, data: pillm.TrainingData, out: Path
) -> None:
    standin("v1", fault=fault)
    with pytest.raises(pillm.BackendError, match=said):
        train(base, data, out)
    assert not (out / "model.safetensors").exists()


@pytest.mark.full
def test_a_child_that_dies_after_the_student_was_saved_is_a_warning(
    standin: Standin, base: Path, data: pillm.TrainingData, out: Path
) -> None:
    standin("v1", fault="dies at the end")
    events: list[pillm.Event] = []
    trainer = EasyDistillTrainer(base=str(base), num_train_epochs=1, launch="direct")
    trainer.train(data, out, pillm.Progress("train", (events.append,)))
    assert [event.message for event in events if event.kind == "warning"] == [
        "EasyDistill ended with exit code 3, but the student it left is whole and trained."
    ]


def test_what_an_earlier_attempt_left_is_never_taken_for_a_student(
    standin: Standin, base: Path, data: pillm.TrainingData, out: Path
) -> None:
    standin("v1", fault="no checkpoint")
    stale = out / ".easydistill-stale" / "result"
    stale.mkdir(parents=True)
    (stale / "config.json").write_text("{}", "utf-8")
    with pytest.raises(pillm.BackendError, match="wrote no checkpoint"):
        train(base, data, out)
    assert not stale.exists()


def test_an_interruption_ends_the_child(
    standin: Standin, base: Path, data: pillm.TrainingData, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    standin("v1", fault="hangs")

    class Stop(BaseException):
        pass

    def interrupt(event: pillm.Event) -> None:
        if event.kind == "note" and "Loaded extension" in event.message:
            raise Stop

    before = _children()
    with pytest.raises(Stop):
        EasyDistillTrainer(base=str(base), launch="direct").train(data, out, pillm.Progress("train", (interrupt,)))
    deadline = time.monotonic() + 5
    while _children() > before and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    assert _children() == before


def _children() -> int:
    return len(Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii").split())


def test_rows_that_cannot_be_learnt_are_counted_and_none_left_is_refused(
    standin: Standin, base: Path, rows: Callable[[list[Any]], pillm.Rows], data: pillm.TrainingData, out: Path
) -> None:
    standin("v1")
    long = rows([("lac", "PONT " * 200)])
    with pytest.raises(pillm.DataError, match=r"no row is left to train on \(1 rows: longer than max_length=64 tokens\)"):
        train(base, pillm.TrainingData(train=long, validation=long, calibration=long), out, max_length=64)


def test_its_own_command_is_refused_where_a_shell_would_take_the_path_apart(
    standin: Standin, base: Path, data: pillm.TrainingData, out: Path
) -> None:
    standin("v1")
    with pytest.raises(pillm.ConfigError, match=r"launch=cli cannot be used with the path .*; with spaces"):
        train(base, data, out, launch="cli")


def test_its_own_command_is_refused_without_a_checkout(
    standin: Standin, base: Path, data: pillm.TrainingData, out: Path
) -> None:
    folder = standin("v1")
    (folder / "configs" / "accelerate_config" / "muti_gpu.yaml").unlink()
    with pytest.raises(pillm.ConfigError, match="which only a checkout has"):
        train(base, data, out, launch="cli")


def test_an_unknown_entry_of_the_training_block_is_told_in_the_words_of_trl(
    standin: Standin, base: Path, data: pillm.TrainingData, out: Path
) -> None:
    standin("v1")
    with pytest.raises(pillm.BackendError, match="got an unexpected keyword argument 'adam_beta3'"):
        train(base, data, out, training={"adam_beta2": 0.99, "adam_beta3": 1})
