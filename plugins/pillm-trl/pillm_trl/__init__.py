"""pillm on TRL: trainer `dpo` learns from preferences."""

from __future__ import annotations

import pillm
from pillm_trl.trainer import DPO

__all__ = ["DPO"]


@pillm.hookimpl
def pillm_trainers() -> list[type[pillm.Trainer]]:
    """Return the trainer `dpo`."""
    return [DPO]
