"""What helps to use the files of an export, beside them: Ollama's Modelfile, the answer grammar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pillm
from pillm_llamacpp.gates import parity
from pillm_llamacpp.grammars.shipped import write_grammar
from pillm_llamacpp.ollama.modelfile import MODELFILE, modelfile, prompts_of, system_of, translate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def write_for_use(
    out: Path, checkpoint: pillm.Checkpoint, card: pillm.Card, models: Sequence[pillm.ModelFile], progress: pillm.Progress
) -> None:
    """Write Modelfile and grammar into the folder of files that are done, and say what could not be written.

    An encoder answers nothing: it gets neither.
    """
    chosen = pillm.preferred_file(models, out)
    if chosen is None or card.purpose == "feature-extraction":
        return
    rows = prompts_of(checkpoint)
    translation = translate(out / chosen.file, rows, parity.day_of(checkpoint))
    context = int(checkpoint.config.get("max_position_embeddings") or 2048)
    text = modelfile(chosen, translation, system=system_of(rows) or card.system, stops=card.stop_tokens, context=context)
    (out / MODELFILE).write_text(text, "utf-8")
    if translation.go is None:
        progress.note(f"{MODELFILE} has no TEMPLATE: {translation.note}.")
    if refused := write_grammar(out, checkpoint):
        progress.note(refused)
