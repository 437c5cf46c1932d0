"""The child's output becomes progress; its words are never a verdict."""

from __future__ import annotations

import pytest
from pillm_easydistill.trainlog import TrainLog

import pillm


def follow(*lines: str, steps: int = 100, epochs: int = 2) -> tuple[TrainLog, list[pillm.Event]]:
    events: list[pillm.Event] = []
    log = TrainLog(pillm.Progress("train", (events.append,)), steps, epochs)
    for line in lines:
        log.read(line)
    return log, events


def test_losses_are_steps_done() -> None:
    log, events = follow(
        "{'loss': 2.5, 'grad_norm': 1.5, 'learning_rate': 2e-05, 'epoch': 0.5}",
        "2026 - INFO - {'loss': '1.25', 'learning_rate': '1e-05', 'epoch': '2.0'}",
        "{'train_runtime': 3.2, 'train_loss': 1.8, 'epoch': 2.0}",
    )
    assert [(event.done, event.figures["loss"]) for event in events] == [(25, 2.5), (100, 1.25)]
    assert log.entries[1] == {"step": 100, "loss": 1.25, "learning_rate": 1e-05, "epoch": 2.0}


def test_remarks_are_passed_on_once_whoever_repeats_them() -> None:
    _, events = follow("2026-01-01 - INFO - 2026-01-01 - INFO - Loading ckpt", "plain text", "2026 - ERROR - Command failed")
    assert [(event.kind, event.message) for event in events] == [("note", "EasyDistill: Loading ckpt")]


@pytest.mark.parametrize("loss", ["nan", "inf", "-inf"])
def test_a_loss_that_is_no_number_ends_the_training(loss: str) -> None:
    with pytest.raises(pillm.BackendError, match="Lower learning_rate"):
        follow(f"{{'loss': {loss}, 'epoch': 0.1}}")


def test_the_cause_is_the_last_exception_and_not_what_repeats_it() -> None:
    log, _ = follow(
        "Traceback (most recent call last):",
        "2026 - INFO - torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
        "2026 - ERROR - Detected error in output: torch.OutOfMemoryError: CUDA out of memory.",
        "subprocess.CalledProcessError: Command '['python']' returned non-zero exit status 1.",
        "2026 - ERROR - Command failed (returncode=1, errors detected)",
    )
    assert log.cause() == "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"


def test_harmless_lines_with_alarming_words_are_no_cause() -> None:
    log, events = follow("2026 - WARNING - Loaded extension without error; 0 rows failed, no exception", "max error: 0")
    assert log.cause() == ""
    assert [event.kind for event in events] == ["note"]
