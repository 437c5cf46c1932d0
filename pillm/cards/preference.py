"""Which of an export's files to take where nobody scored them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pillm.artifacts import CHOICE_FILE, ModelFile

MAX_BYTES = 16 * 2**20
UNQUANTISED = ("F32", "BF16", "F16")


@dataclass(frozen=True, slots=True)
class Preference:
    """The file to take, and why."""

    file: str
    """Its name in its folder."""
    why: str
    """The end of a sentence: "Take FILE: ..."."""


def preferred_file(models: Sequence[ModelFile], folder: Path) -> Preference | None:
    """Return the file of an export to take before anything was scored; None where there is none.

    It is the one that the exporter chose and says so in the folder's `choice.json`, else the least rounded of those that
    are quantised: nothing is known then that would speak for a smaller one.
    """
    if not models:
        return None
    picked = picked_quant(folder)
    chosen = next((model for model in models if picked is not None and model.quant == picked), None)
    if chosen is not None:
        return Preference(chosen.label, f"the exporter chose it; {CHOICE_FILE} says by what")
    if len(models) == 1:
        return Preference(models[0].label, "it is the only file")
    quantised = [model for model in models if model.quant.upper() not in UNQUANTISED]
    best = max(quantised or models, key=lambda model: model.bytes)
    rounded = "least rounded of the quantised files" if quantised else "largest of the files"
    return Preference(best.label, f"the {rounded}; nothing was measured that would speak for a smaller one")


def picked_quant(folder: Path) -> str | None:
    """Return the quantisation that an exporter chose, as its `choice.json` says; None where it says nothing of use."""
    path = folder / CHOICE_FILE
    try:
        said = json.loads(path.read_text("utf-8")) if path.stat().st_size <= MAX_BYTES else None
    except (OSError, ValueError, RecursionError):
        return None
    picked = said.get("picked") if isinstance(said, dict) else None
    return picked if isinstance(picked, str) else None
