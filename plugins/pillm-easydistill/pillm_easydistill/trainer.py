"""The trainer `easydistill`. The work itself is in `training.py`."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pillm
from pillm_easydistill import installation
from pillm_easydistill.options import EasyDistillOptions


class EasyDistillTrainer(EasyDistillOptions):
    """EasyDistill 1.x: all weights, on the answers alone or on a teacher's distributions too."""

    name: ClassVar[str] = "easydistill"

    def check(self) -> None:
        """Raise where there is no such base or teacher, or EasyDistill 1 is not installed; the message says what to install."""
        from pillm_easydistill import student

        student.require(self.base, self.revision)
        if self.teacher:
            student.require(self.teacher, None)
        installation.require(self.python, "v1")

    def train(self, data: pillm.TrainingData, out: Path, progress: pillm.Progress) -> None:
        """Train the student with EasyDistill and write its folder.

        Raises MissingDependency without EasyDistill 1, DataError where no row can be trained on, and BackendError where
        what EasyDistill left behind is no trained student, whatever its exit code.
        """
        from pillm_easydistill.training import train

        train(self, data, out, progress)
