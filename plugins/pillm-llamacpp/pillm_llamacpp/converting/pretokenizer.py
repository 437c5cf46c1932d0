"""Which of llama.cpp's pre-tokenizers splits text as a tokenizer.json does.

llama.cpp knows published tokenizers by a hash and refuses any freshly trained one. The answer is in the tokenizer's own
file: how it splits text before merging. What is derived here is a claim; the exporter's parity gate proves it.
"""

from __future__ import annotations

from typing import Any

_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SHORT = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
_SHORT_O = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_LEAD = r"[^\r\n\p{L}\p{N}]?"
_REST_O = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_QWEN2 = _SHORT + _WORD + r"|\p{N}" + _REST
_LLAMA3 = _SHORT + _WORD + r"|\p{N}{1,3}" + _REST
_QWEN35 = _SHORT + r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}" + r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TEKKEN = f"{_LEAD}{_UPPER}*{_LOWER}+|{_LEAD}{_UPPER}+{_LOWER}*" + r"|\p{N}" + _REST_O
_GPT4O = f"{_LEAD}{_UPPER}*{_LOWER}+{_SHORT_O}|{_LEAD}{_UPPER}+{_LOWER}*{_SHORT_O}" + r"|\p{N}{1,3}" + _REST_O

_BY_PATTERN = {
    # (the pattern, does the model look a whole word up before it merges) -> the name in the GGUF
    (_GPT2, False): "gpt-2",
    (_QWEN2, False): "qwen2",
    (_LLAMA3, True): "llama-bpe",
    (_LLAMA3, False): "smaug-bpe",
    (_QWEN35, False): "qwen35",
    (_TEKKEN, True): "tekken",
    (_GPT4O, False): "gpt-4o",
}


def derive(tokenizer: dict[str, Any]) -> str | None:
    """Return llama.cpp's name for the pre-tokenizer of a parsed tokenizer.json; None where none is known to be the same."""
    model = tokenizer.get("model") or {}
    if model.get("type") != "BPE":
        return None
    steps = _steps(tokenizer.get("pre_tokenizer"))
    whole_words = bool(model.get("ignore_merges"))
    if not steps or steps[-1].get("type") != "ByteLevel" or steps[-1].get("add_prefix_space"):
        return None
    *before, level = steps
    if level.get("use_regex", True):
        return _before_gpt2(before) if not whole_words else None
    if len(before) == 1 and before[0].get("type") == "Split" and before[0].get("behavior") == "Isolated":
        pattern = str((before[0].get("pattern") or {}).get("Regex"))
        return _BY_PATTERN.get((pattern, whole_words)) if not before[0].get("invert") else None
    return None


def _before_gpt2(before: list[dict[str, Any]]) -> str | None:
    if not before:
        return "gpt-2"
    digits = len(before) == 1 and before[0].get("type") == "Digits" and before[0].get("individual_digits")
    return "smollm" if digits else None


def _steps(pre_tokenizer: dict[str, Any] | None) -> list[dict[str, Any]]:
    if pre_tokenizer is None:
        return []
    if pre_tokenizer.get("type") == "Sequence":
        return list(pre_tokenizer.get("pretokenizers") or [])
    return [pre_tokenizer]
