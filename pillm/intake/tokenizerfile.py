"""What a tokenizer.json may hold before the tokenizers library builds it: known kinds, sane ids, nothing that grows text."""

from __future__ import annotations

from typing import Any, Final

from pillm.intake.faults import Fault, shown
from pillm.intake.jsonfiles import objects_in

MAX_TOKENS: Final = 1 << 22
MAX_TOKEN: Final = 1 << 16
MAX_GROWTH: Final = 64
MAX_PATTERN: Final = 1 << 14
MAX_PADDING: Final = 1 << 20

_KINDS = ("BPE", "Unigram", "WordPiece", "WordLevel")


def check_tokenizer(said: Any) -> int:
    """Return how many ids a tokenizer.json has; raise Fault for what would exhaust or confuse the library that reads it."""
    if not isinstance(said, dict) or not isinstance(said.get("model"), dict):
        raise Fault("it holds no tokenizer: there is no model in it", broken=True)
    model = said["model"]
    kind = model.get("type")
    if kind is not None and kind not in _KINDS:
        raise Fault(f"its model is of the unknown kind {shown(kind)}")
    ids = _ids(model.get("vocab"))
    if "merges" in model:
        _check_merges(model["merges"])
    most = _check_added(said.get("added_tokens"), max(ids, default=-1))
    for part in ("normalizer", "pre_tokenizer", "decoder", "post_processor"):
        _check_growth(said.get(part), part)
    _check_padding(said.get("padding"))
    return most + 1


def _ids(vocab: Any) -> list[int]:
    if isinstance(vocab, list):  # Unigram: pairs of a text and its score
        if len(vocab) > MAX_TOKENS or not all(_is_piece(one) for one in vocab):
            raise Fault("its vocabulary is not a list of texts with their scores")
        return list(range(len(vocab)))
    if not isinstance(vocab, dict) or len(vocab) > MAX_TOKENS:
        raise Fault(f"its vocabulary is not a table of at most {MAX_TOKENS} texts and their ids")
    ids = list(vocab.values())
    for text, token in vocab.items():
        if type(token) is not int or not 0 <= token < MAX_TOKENS or len(text) > MAX_TOKEN:
            raise Fault(f"token {shown(text)} has the id {shown(token)}")
    if len(set(ids)) != len(ids):
        raise Fault("two texts of its vocabulary have one id")
    return ids


def _is_piece(one: Any) -> bool:
    return isinstance(one, list) and len(one) == 2 and isinstance(one[0], str) and type(one[1]) in (int, float)


def _check_merges(merges: Any) -> None:
    if not isinstance(merges, list) or len(merges) > MAX_TOKENS:
        raise Fault(f"its merges are not a list of at most {MAX_TOKENS} pairs")
    for number, one in enumerate(merges):
        if isinstance(one, str):
            sound = 1 <= one.find(" ", 1) < len(one) - 1
        else:
            sound = isinstance(one, list) and len(one) == 2 and isinstance(one[0], str) and isinstance(one[1], str)
        if not sound:
            raise Fault(f"merge {number} is {shown(one)}, not two parts")


def _check_added(added: Any, most: int) -> int:
    if added is None:
        return most
    if not isinstance(added, list) or len(added) > MAX_TOKENS:
        raise Fault("its added tokens are not a list")
    known: dict[str, int] = {}
    for one in added:
        content, token = (one.get("content"), one.get("id")) if isinstance(one, dict) else (None, None)
        if not isinstance(content, str) or not 0 < len(content) <= MAX_TOKEN or type(token) is not int:
            raise Fault(f"the added token {shown(one)} has no text or no id")
        if not 0 <= token < MAX_TOKENS or known.setdefault(content, token) != token:
            raise Fault(f"the added token {shown(content)} has the id {token}")
        most = max(most, token)
    return most


def _check_growth(part: Any, where: str) -> None:
    """Refuse steps that make a text many times longer, and patterns that are longer than any that people write."""
    growth = 1.0
    for one in objects_in(part):
        pattern, content = one.get("pattern"), one.get("content")
        told = next((text for text in pattern.values() if isinstance(text, str)), "") if isinstance(pattern, dict) else ""
        if len(told) > MAX_PATTERN:
            raise Fault(f"its {where} has a pattern of {len(told)} characters")
        if one.get("type") == "Replace" and isinstance(content, str):
            growth *= max(1.0, len(content) / max(1, len(told)))
            if growth > MAX_GROWTH:
                raise Fault(f"its {where} makes a text more than {MAX_GROWTH} times longer")


def _check_padding(padding: Any) -> None:
    if not isinstance(padding, dict):
        return
    strategy = padding.get("strategy")
    fixed = strategy.get("Fixed") if isinstance(strategy, dict) else 0
    for what, length in (("a fixed length", fixed), ("a multiple", padding.get("pad_to_multiple_of") or 0)):
        if type(length) is not int or not 0 <= length <= MAX_PADDING:
            raise Fault(f"it pads every text to {what} of {shown(length)} tokens")
