"""Models small enough to ship in a wheel, so that pillm works at once and offline."""

from __future__ import annotations

from pathlib import Path

import pillm

__all__ = ["pillm_models"]

_MODELS = Path(__file__).resolve().parent / "models"


@pillm.hookimpl
def pillm_models() -> dict[str, Path]:
    """Return the folders of the nano teacher and of the nano student base."""
    return {name: _MODELS / name for name in ("nano-teacher", "nano-base")}
