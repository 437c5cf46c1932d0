"""The trainer `full`: all weights, and students smaller than their base."""

from __future__ import annotations

from typing import Any, ClassVar

from pillm_hf.models.hub import describe, find_here
from pillm_hf.options.full import FullOptions
from pillm_hf.trainers.trainer import HFTrainer


class Full(FullOptions, HFTrainer):
    """All weights, in float32 with 16-bit products."""

    name: ClassVar[str] = "full"

    def check(self) -> None:
        """Raise where there is no such base or no such GPU, or where the base cannot be made into such a student."""
        super().check()
        source = find_here(self.base, self.revision) if self.reshapes else None
        if source is not None:
            from pillm_hf.shrinking.starting import require_possible

            require_possible(self, source.fetch())

    def planned_shape(self) -> dict[str, Any] | None:
        """Return the config.json of a student that is smaller than its base; None where it is not.

        A trimmed vocabulary counts as `vocabulary_size` says, else as the base's, which it cannot exceed.
        """
        if not self.reshapes:
            return None
        from pillm_hf.shrinking.starting import planned_shape

        return planned_shape(self, describe(self.base, self.revision).fetch())
