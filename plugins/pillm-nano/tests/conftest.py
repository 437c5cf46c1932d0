"""Where the training scripts and the models are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PLUGIN / "training"))


@pytest.fixture(scope="session", params=["nano-teacher", "nano-base"])
def folder(request: pytest.FixtureRequest) -> Path:
    """Return one of the two model folders."""
    return PLUGIN / "pillm_nano" / "models" / request.param


@pytest.fixture(scope="session")
def teacher() -> Path:
    """Return the teacher's folder."""
    return PLUGIN / "pillm_nano" / "models" / "nano-teacher"
