"""What stands beside the files of an export: the card that they carry, Ollama's Modelfile, the answer grammar."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pillm
from pillm_llamacpp.gates import parity
from pillm_llamacpp.grammars.shipped import write_grammar
from pillm_llamacpp.ollama.modelfile import MODELFILE, modelfile, prompts_of, system_of, translate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CARD = "card.json"


def write_beside(
    out: Path, checkpoint: pillm.Checkpoint, card: pillm.Card, models: Sequence[pillm.ModelFile], progress: pillm.Progress
) -> None:
    """Write card, Modelfile and grammar into the folder of files that are done, and say what could not be written."""
    (out / CARD).write_text(json.dumps(pillm.card_to_json(card), ensure_ascii=False, indent=2) + "\n", "utf-8")
    rows = prompts_of(checkpoint)
    smallest = min(models, key=lambda model: model.bytes)
    translation = translate(smallest.path, rows, parity.day_of(checkpoint))
    context = int(checkpoint.config.get("max_position_embeddings") or 2048)
    text = modelfile(
        smallest.path.name, translation, system=system_of(rows) or card.system, stops=card.stop_tokens, context=context
    )
    (out / MODELFILE).write_text(text, "utf-8")
    if translation.go is None:
        progress.note(f"{MODELFILE} has no TEMPLATE: {translation.note}.")
    if refused := write_grammar(out, checkpoint):
        progress.note(refused)
