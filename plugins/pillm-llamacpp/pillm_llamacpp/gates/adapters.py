"""What can be told of an adapter's folder alone, and of the files of any folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pillm
from pillm_llamacpp.workers.refusal import Refusal
from pillm_llamacpp.writing.adapter import settings_of
from pillm_llamacpp.writing.sources import adapter_of

if TYPE_CHECKING:
    from pathlib import Path


def examine_adapter(folder: Path, *, alone: bool) -> pillm.Finding:
    """Return whether an adapter can be exported, merged or in a file of its own, as far as it can be told without its base."""
    try:
        found = adapter_of(folder)
        if alone:
            found.single_alpha()
        name = pillm.named_base(folder).name
    except (pillm.PillmError, Refusal) as error:
        return pillm.Finding("adapter", "broken", str(error))
    ranks = sorted({pair.b.shape[1] for pair in found.pairs.values()})
    dora = ", with magnitudes (DoRA)" if settings_of(folder).get("use_dora") else ""
    said = f"LoRA of rank {', '.join(map(str, ranks))} on {name}, {len(found.pairs)} weights{dora}"
    return pillm.Finding("adapter", "ok", said)


def look_at_files(folder: Path) -> pillm.Finding:
    """Look at every file in a limited process, as an export will before anything else reads them."""
    try:
        notes = pillm.check_model_folder(folder)
    except pillm.PillmError as error:
        return pillm.Finding("files", "broken", str(error))
    return pillm.Finding("files", "note" if notes else "ok", "; ".join(notes) or "none contradicts itself")
