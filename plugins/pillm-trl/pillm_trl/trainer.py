"""The trainer `dpo`. The work itself is in `training.py`."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pillm
from pillm_trl.options import DPOOptions


class DPO(DPOOptions):
    """Direct preference optimisation: the chosen answer becomes likelier than the rejected one, the base stays near."""

    name: ClassVar[str] = "dpo"

    def train(self, data: pillm.TrainingData, out: Path, progress: pillm.Progress) -> None:
        """Train the student with TRL and write its folder.

        Raises DataError where no row has two answers that can be learnt from, BackendError where the loss is no number or
        the merge fails, UnsafeError where a checkpoint holds more than tensors.
        """
        from pillm_trl.training import train

        train(self, data, out, progress)
