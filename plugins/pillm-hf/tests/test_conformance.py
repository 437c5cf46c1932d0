"""The plugin keeps the protocol that every plugin is held to."""

from __future__ import annotations

from pathlib import Path

import pillm_hf
from pillm_hf import HFRunner, HFTeacher, LoRA

from pillm.testing import check_plugin, check_runner, check_teacher, check_trainer


def test_the_plugin_declares_what_it_provides() -> None:
    assert {cls.name for cls in check_plugin(pillm_hf)} == {"hf", "lora", "dora", "qlora", "full"}


def test_the_teacher_conforms(base: Path) -> None:
    check_teacher(HFTeacher(model=str(base), dtype="float32", max_new_tokens=4, logprobs=2))


def test_the_trainer_and_the_runner_conform(base: Path, tmp_path: Path) -> None:
    trainer = LoRA(base=str(base), num_train_epochs=1, max_length=250)
    student = check_trainer(trainer, tmp_path)
    check_runner(HFRunner(max_new_tokens=4), student)
