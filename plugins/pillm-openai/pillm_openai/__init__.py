"""Teacher `openai`: any OpenAI-compatible server answers."""

from __future__ import annotations

import pillm
from pillm_openai.teacher import OpenAI

__all__ = ["OpenAI"]


@pillm.hookimpl
def pillm_teachers() -> list[type[pillm.Teacher]]:
    """Return the teacher of this plugin."""
    return [OpenAI]
