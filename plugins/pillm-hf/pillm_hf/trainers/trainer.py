"""What every trainer does: check what stands in the way, forecast, train. The work itself is in `training`."""

from __future__ import annotations

from pathlib import Path

import pillm
from pillm_hf.models.hub import find_here, require_trainable
from pillm_hf.models.precision import require_device
from pillm_hf.options.finetuning import FineTuning
from pillm_hf.options.launcher import require_deepspeed
from pillm_hf.training.tracking import require


class HFTrainer(FineTuning):
    """Fine-tunes a student as its options say, in this process or in those that a launcher starts."""

    def check(self) -> None:
        """Raise where there is no such base, no such GPU, or a tracker is not installed; the base is not downloaded."""
        require_trainable(self.base, self.revision)
        require_device(self.device_map)
        require(self.report_to or ())
        if self.launcher is not None:
            require_deepspeed(self.launcher)
        if self.distill:
            self.distill.check()
        source = find_here(self.base, self.revision) if self.quantization_aware else None
        if source is not None and self.quantization_aware:
            from pillm_hf.rounding.filetypes import require_layers

            require_layers(self.quantization_aware.type, source.fetch())

    def forecast(self, data: pillm.TrainingData) -> pillm.TrainingForecast | None:
        """Return what a training takes, three steps of it timed where it fits; None where the base is not here."""
        source = find_here(self.base, self.revision)
        if source is None:
            return None
        from pillm_hf.trainers.job import forecast

        return forecast(self, data, source.fetch())

    def launch_plan(self) -> str | None:
        """Return the commands and files of `accelerate launch` that a training starts; None where it starts none."""
        from pillm_hf.launching.command import plan

        return plan(self)

    def train(self, data: pillm.TrainingData, out: Path, progress: pillm.Progress) -> None:
        """Train the student and write its folder.

        Raises DataError where no row can be trained on and BackendError where the loss or the merge fails.
        """
        from pillm_hf.trainers.job import train

        train(self, data, out, progress)
