"""The trainer's options: what cannot work is refused before anything is written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from pillm_easydistill import EasyDistillTrainer
from pillm_easydistill.student import Base

import pillm
from pillm.testing import check_backend

WHITE: dict[str, Any] = {"job_type": "kd_white_box_train_only", "gradient_accumulation_steps": 1}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"job_type": "kd_white_box"}, "kd_white_box would label the rows again"),
        ({"job_type": "kd_black_box_local"}, "kd_black_box_local would label the rows again"),
        (WHITE, "kd_white_box_train_only needs a teacher"),
        ({"teacher": "t"}, "kd_black_box_train_only takes none"),
        ({**WHITE, "teacher": "t", "gradient_accumulation_steps": 2}, "by the number of the optimiser step"),
        ({**WHITE, "teacher": "t", "launch": "accelerate"}, "launch=direct"),
        ({"training": {"output_dir": "/elsewhere"}}, "output_dir of the training block cannot be set there"),
        ({"training": {"learning_rate": 1}}, "learning_rate of the training block cannot be set there"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EasyDistillTrainer(base="b", **options)


def test_options_come_back_and_the_key_names_contents_and_not_paths(base: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(base, moved)
    one, other = (EasyDistillTrainer(base=str(place), teacher=str(place), **WHITE) for place in (base, moved))
    check_backend(one)
    assert one.identity() == other.identity()
    assert str(base) not in str(one.identity())


def test_a_base_that_is_only_an_adapter_is_refused(base: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(base, adapter)
    (adapter / "model.safetensors").unlink()
    (adapter / "adapter_config.json").write_text("{}", "utf-8")
    with pytest.raises(pillm.DataError, match="Merge it into its base first"):
        Base.open(str(adapter), None)


def test_prompts_without_room_for_an_answer_are_refused_before_anything_costs(base: Path) -> None:
    long = [pillm.Prompt(id=str(at), messages=({"role": "user", "content": "pont " * 300},)) for at in range(3)]
    with pytest.raises(pillm.ConfigError, match="leave no room for an answer in max_length=64"):
        EasyDistillTrainer(base=str(base), max_length=64).check_prompts(long, pillm.Contract())


def test_the_untrained_student_is_the_base(base: Path) -> None:
    found = EasyDistillTrainer(base=str(base)).base_checkpoint()
    assert found is not None
    assert found.path == base
