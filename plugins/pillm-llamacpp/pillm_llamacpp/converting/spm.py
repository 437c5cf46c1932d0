"""The vocabulary of a SentencePiece-style tokenizer.json, as llama.cpp's `llama` tokenizer wants it: texts, scores, types.

The converter reads it from `tokenizer.model` alone, which a tokenizer that was trained, trimmed or saved anew has not.
llama.cpp joins the pair whose joined text has the best score, so a text's score is the rank of the merge that makes it.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple, TypeAlias

Spaces: TypeAlias = Literal["always", "first", "never"]

SPACE = "\u2581"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_NEVER_MERGED = -1e7


class Vocabulary(NamedTuple):
    """By token id."""

    texts: list[bytes]
    scores: list[float]
    types: list[int]


def spaces_of(tokenizer: dict[str, Any]) -> Spaces | None:
    """Return where a SentencePiece-style BPE puts a space before the text; None where a tokenizer.json is none.

    `always`: before every piece of text between special tokens; `first`: only at the very start.
    """
    if (tokenizer.get("model") or {}).get("type") != "BPE":
        return None
    normal = [_normalizing(step) for step in _steps(tokenizer.get("normalizer"), "normalizers")]
    before = _steps(tokenizer.get("pre_tokenizer"), "pretokenizers")
    if len(before) == 1 and before[0].get("type") == "Metaspace" and not normal:
        return _metaspace(before[0])
    # Gemma's split at spaces finds none: they were written otherwise before
    if before and not (len(before) == 1 and before[0].get("type") == "Split" and before[0].get("pattern") == {"String": " "}):
        return None
    if normal == ["prepend", "replace"]:
        return "always"
    return "never" if normal == ["replace"] else None


def _metaspace(step: dict[str, Any]) -> Spaces | None:
    if step.get("replacement") != SPACE:
        return None
    scheme = step.get("prepend_scheme", "always" if step.get("add_prefix_space", True) else "never")
    return scheme if scheme in ("always", "first", "never") else None


def _normalizing(step: dict[str, Any]) -> str:
    if step.get("type") == "Prepend" and step.get("prepend") == SPACE:
        return "prepend"
    if step.get("type") == "Replace" and step.get("pattern") == {"String": " "} and step.get("content") == SPACE:
        return "replace"
    return "other"


def _steps(step: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    if step is None:
        return []
    return list(step.get(key) or []) if step.get("type") == "Sequence" else [step]


def vocabulary_size(config: dict[str, Any]) -> int | None:
    """Return how many rows the embedding of a model has, as its config.json says."""
    size = (config.get("text_config") or config).get("vocab_size")
    return size if isinstance(size, int) else None


def vocabulary_of(tokenizer: dict[str, Any], size: int | None = None) -> Vocabulary:
    """Return the vocabulary of a SentencePiece-style tokenizer.json, filled with unused tokens up to `size`.

    An added token beyond is left out, as the converter does: no text of the model can hold it (Gemma 3's token for an image).
    Raises ValueError where another id does not fit.
    """
    model = tokenizer["model"]
    told = {token["id"]: token for token in tokenizer.get("added_tokens") or []}
    added = {number: token for number, token in told.items() if size is None or number < size}
    plain = {text: number for text, number in model["vocab"].items() if number in added or number not in told}
    last = max([*plain.values(), *added], default=-1)
    count = last + 1 if size is None else size
    if last >= count:
        raise ValueError(f"token {last} of tokenizer.json has no row: the vocabulary of config.json has {count}")
    ranks = _ranks(model.get("merges") or [])
    made = Vocabulary([f"[PAD{i}]".encode() for i in range(count)], [-10000.0] * count, [UNUSED] * count)
    for text, number in plain.items():
        rank = ranks.get(text)
        made.texts[number] = text.encode("utf-8", "replace")
        made.scores[number] = -float(rank) if rank is not None else _NEVER_MERGED
        made.types[number] = _kind(text, model)
    for number, token in added.items():
        special = bool(token.get("special"))
        # llama.cpp looks for these in the text as it is given, where a space is a space
        text = token["content"] if special else token["content"].replace(SPACE, " ")
        made.texts[number] = text.encode("utf-8", "replace")
        made.scores[number], made.types[number] = -1000.0, CONTROL if special else USER_DEFINED
    return made


def _ranks(merges: list[Any]) -> dict[str, int]:
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(merges):
        left, right = pair.split(" ", 1) if isinstance(pair, str) else pair
        ranks.setdefault(left + right, rank)
    return ranks


def _kind(text: str, model: dict[str, Any]) -> int:
    if text == model.get("unk_token"):
        return UNKNOWN
    return BYTE if model.get("byte_fallback") and _BYTE.fullmatch(text) else NORMAL
