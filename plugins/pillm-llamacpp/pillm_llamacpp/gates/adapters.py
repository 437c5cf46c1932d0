"""What can be told of an adapter's folder alone, and of the files of any folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pillm
from pillm_llamacpp.writing.adapter import settings_of
from pillm_llamacpp.writing.sources import adapter_of

if TYPE_CHECKING:
    from pathlib import Path


def examine_adapter(folder: Path) -> pillm.Finding:
    """Return whether an adapter can be exported, as far as it can be told without its base."""
    try:
        pairs = adapter_of(folder).pairs
        name = pillm.named_base(folder).name
    except pillm.PillmError as error:
        return pillm.Finding("adapter", "broken", str(error))
    ranks = sorted({pair.b.shape[1] for pair in pairs.values()})
    dora = ", with magnitudes (DoRA)" if settings_of(folder).get("use_dora") else ""
    said = f"LoRA of rank {', '.join(map(str, ranks))} on {name}, {len(pairs)} weights{dora}"
    return pillm.Finding("adapter", "ok", said)


def look_at_files(folder: Path) -> pillm.Finding:
    """Look at every file in a limited process, as an export will before anything else reads them."""
    try:
        notes = pillm.check_model_folder(folder)
    except pillm.PillmError as error:
        return pillm.Finding("files", "broken", str(error))
    return pillm.Finding("files", "note" if notes else "ok", "; ".join(notes) or "none contradicts itself")
