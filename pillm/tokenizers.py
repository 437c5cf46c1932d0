"""What a tokenizer.json means, apart from how a library's version writes it down."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pillm.errors import DataError


def tokenizer_hash(path: Path) -> str:
    """Return the sha256 of what gives text its token ids: equal where a tokenizer.json was only saved by another version.

    That is the model's kind, vocabulary and merges, normalizer, pre-tokenizer and added tokens. Left out are layout,
    defaults that are or are not written out, truncation and padding, the decoder, and the post-processor, whose tokens a chat
    template writes. Raises DataError where the file is none.
    """
    try:
        told = json.loads(path.read_text("utf-8"))
        meant = {
            "model": _model(told["model"]),
            "normalizer": _without_defaults(told.get("normalizer")),
            "pre_tokenizer": _without_defaults(told.get("pre_tokenizer")),
            "added": sorted((_without_defaults(token) for token in told.get("added_tokens") or ()), key=lambda one: one["id"]),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is no tokenizer ({error!r}). Save the model's tokenizer as tokenizer.json again.") from error
    return hashlib.sha256(json.dumps(meant, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _model(model: dict[str, Any]) -> dict[str, Any]:
    """Return a model with merges as pairs; older files write them as two words, and leave out the kind of one with merges."""
    kept = {name: value for name, value in model.items() if name not in ("vocab", "merges")}
    if "merges" in model:
        kept |= {"type": "BPE", "merges": [one.split(" ") if isinstance(one, str) else one for one in model["merges"]]}
    return {**_without_defaults(kept), "vocab": model["vocab"]}


def _without_defaults(part: Any) -> Any:
    """Return a part without what is off or absent, and without what bears on offsets alone; the rest is as it stands."""
    if isinstance(part, list):
        return [_without_defaults(one) for one in part]
    if not isinstance(part, dict):
        return part
    on = {name: _without_defaults(value) for name, value in part.items() if name != "trim_offsets"}
    if part.get("type") == "ByteLevel":
        on = {"use_regex": True} | on  # files that are older than the option mean this
    return {name: value for name, value in on.items() if value is not None and value is not False and value != ""}
