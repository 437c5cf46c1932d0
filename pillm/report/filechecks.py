"""What can be told about an exported file without asking it: is its chat template the one trained with, are its tokens?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pillm.artifacts import Checkpoint, ModelFile
from pillm.devices.ggufheader import read_header
from pillm.errors import PillmError
from pillm.records import JSONObject
from pillm.report.blame import Check

TEMPLATE, TOKENS, KIND = "tokenizer.chat_template", "tokenizer.ggml.tokens", "tokenizer.ggml.model"
_AS_WRITTEN = ("gpt2", "llama")
"""Kinds of vocabulary whose texts stand in a GGUF file as they stand in tokenizer.json."""


def check_files(models: Sequence[ModelFile], checkpoint: Checkpoint) -> list[Check]:
    """Return the checks of every GGUF file against the checkpoint that it was made of; what cannot be told is left out."""
    return [check for model in models if model.path.suffix == ".gguf" for check in _checks(model, checkpoint)]


def _checks(model: ModelFile, checkpoint: Checkpoint) -> list[Check]:
    try:
        header = read_header(model.path, texts=(TOKENS,))
        trained = checkpoint.contract.get("template")
    except PillmError as error:
        return [Check(stage="export", what="file", file=model.label, ok=False, detail=str(error))]
    found = []
    template = header.metadata.get(TEMPLATE)
    if isinstance(trained, str) and trained:
        same = template == trained
        found.append(
            Check(stage="export", what="chat template", file=model.label, ok=same, detail=_template_fault(trained, template))
        )
    known, texts = _vocabulary(checkpoint.path / "tokenizer.json"), header.texts.get(TOKENS)
    if known and texts and header.metadata.get(KIND) in _AS_WRITTEN:
        detail = _token_fault(known, texts)
        found.append(Check(stage="export", what="tokens", file=model.label, ok=not detail, detail=detail))
    return found


def _template_fault(trained: str, template: object) -> str:
    if template == trained:
        return ""
    if not isinstance(template, str):
        return "the file carries none"
    pairs = enumerate(zip(trained, template, strict=False))
    place = next((at for at, (one, other) in pairs if one != other), min(len(trained), len(template)))
    return f"it is not the one trained with, from character {place} on"


def _token_fault(known: dict[int, str], texts: Sequence[str]) -> str:
    """Return how many ids have another text than in training, and the first of them."""
    wrong = [index for index, text in sorted(known.items()) if index < len(texts) and texts[index] != text]
    if not wrong:
        return ""
    first = wrong[0]
    return (
        f"{len(wrong)} ids have another text, the first is {first}: {known[first]!r} in training, {texts[first]!r} in the file"
    )


def _vocabulary(path: Path) -> dict[int, str]:
    """Return the text of every id that a tokenizer.json names; empty where it cannot be read."""
    try:
        said = json.loads(path.read_text("utf-8"))
        vocabulary = said["model"]["vocab"]
        pairs = (
            vocabulary.items() if isinstance(vocabulary, dict) else ((one[0], index) for index, one in enumerate(vocabulary))
        )
        found = {int(index): str(text) for text, index in pairs}
        return found | {int(token["id"]): str(token["content"]) for token in _added(said)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def _added(said: JSONObject) -> list[JSONObject]:
    return said.get("added_tokens") or []
