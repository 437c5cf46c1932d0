"""pillm on EasyDistill: trainer `easydistill` drives its version 1, teacher `easydistill` the data jobs of its version 2."""

from __future__ import annotations

import pillm
from pillm_easydistill.teacher import EasyDistillTeacher
from pillm_easydistill.trainer import EasyDistillTrainer

__all__ = ["EasyDistillTeacher", "EasyDistillTrainer"]


@pillm.hookimpl
def pillm_teachers() -> list[type[pillm.Teacher]]:
    """Return the teacher `easydistill`."""
    return [EasyDistillTeacher]


@pillm.hookimpl
def pillm_trainers() -> list[type[pillm.Trainer]]:
    """Return the trainer `easydistill`."""
    return [EasyDistillTrainer]
