"""Which of llama.cpp's pre-tokenizers splits text as a tokenizer.json does.

llama.cpp knows published tokenizers by a hash and refuses any freshly trained one. The answer is in the tokenizer's own
file: how it splits text before merging. What is derived here is a claim; the exporter's parity gate proves it.
"""

from __future__ import annotations

from typing import Any

from pillm_llamacpp.converting.spm import spaces_of

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
    (_WORD + r"|\p{N}" + _REST, False): "ufakzeka",
    (_SHORT + _WORD + r"|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+", False): "seed-coder",
}
_SAME = (
    # a class that nothing after it can match needs no possessive sign, and a run of blanks up to one line end is up to its last
    ("?+", "?"), ("++", "+"), (r"\p{N}{1}|", r"\p{N}|"), (r"\s*[\r\n]|", r"\s*[\r\n]+|"), ("'(?i:[sdmt]|ll|ve|re)|", _SHORT),
)  # fmt: skip
"""Other ways of writing what the patterns above say."""
WORD_PIECE = "bert-bge"
"""What the converter calls the tokenizer of BERT; llama.cpp splits its text in one way only."""
SENTENCE_PIECE = "default"


def derive(tokenizer: dict[str, Any]) -> str | None:
    """Return llama.cpp's name for the pre-tokenizer of a parsed tokenizer.json; None where none is known to be the same."""
    model = tokenizer.get("model") or {}
    if model.get("type") == "WordPiece":
        return _word_piece(tokenizer)
    if spaces_of(tokenizer) is not None:
        return SENTENCE_PIECE
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
        return _BY_PATTERN.get((_plainest(pattern), whole_words)) if not before[0].get("invert") else None
    return None


def _plainest(pattern: str) -> str:
    """Return a pattern as the table above writes it."""
    for way, same in _SAME:
        pattern = pattern.replace(way, same)
    return pattern + "+" if pattern.endswith(r"|\s+(?!\S)|\s") else pattern


def _word_piece(tokenizer: dict[str, Any]) -> str | None:
    normal = tokenizer.get("normalizer") or {}
    split = (tokenizer.get("pre_tokenizer") or {}).get("type")
    alike = (
        normal.get("type") == "BertNormalizer" and normal.get("clean_text", True) and normal.get("handle_chinese_chars", True)
    )
    marked = (tokenizer.get("model") or {}).get("continuing_subword_prefix", "##") == "##"
    return WORD_PIECE if alike and marked and split == "BertPreTokenizer" else None


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
