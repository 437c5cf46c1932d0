"""Teacher `openai` and runner `server`: any OpenAI-compatible server answers."""

from __future__ import annotations

import pillm
from pillm_openai.runner import ServerRunner
from pillm_openai.teacher import OpenAI

__all__ = ["OpenAI", "ServerRunner"]


@pillm.hookimpl
def pillm_teachers() -> list[type[pillm.Teacher]]:
    """Return the teacher of this plugin."""
    return [OpenAI]


@pillm.hookimpl
def pillm_runners() -> list[type[pillm.Runner]]:
    """Return the runner of this plugin."""
    return [ServerRunner]
