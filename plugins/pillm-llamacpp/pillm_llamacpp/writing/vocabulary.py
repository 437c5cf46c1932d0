"""The tokenizer's part of a file's metadata, read from tokenizer.json where that is certain to be what the converter writes.

The converter asks transformers for the vocabulary, which takes seconds to load and now and then changes a tokenizer while
it reads it. What is read here is taken only where nothing of that can happen; else the converter is asked.
"""

from __future__ import annotations

import ast
import json
import re
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pillm_llamacpp.workers.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

_CLASSES = {
    # tokenizers that transformers builds from tokenizer.json -> tokens that it adds of its own accord where they lack
    "PreTrainedTokenizerFast": (), "TokenizersBackend": (), "GPT2Tokenizer": ("<|endoftext|>",),
    "GPT2TokenizerFast": ("<|endoftext|>",), "Qwen2Tokenizer": ("<|endoftext|>",), "Qwen2TokenizerFast": ("<|endoftext|>",),
}  # fmt: skip
_SPECIAL = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))
_KNOWN = re.compile(r'if chkhsh == "([0-9a-f]{64})":\s*\n(?:\s*#[^\n]*\n)*\s*res = "([^"]+)"')
_PROBE = re.compile(r"chktxt = ('(?:[^'\\]|\\.)*')")


def write_vocabulary(
    writer: Any, gguf: Any, folder: Path, tree: str, config: Mapping[str, Any], *, given: str | None, derived: str | None
) -> None:
    """Add a byte-level BPE vocabulary; raise Refusal of the kind `vocabulary` where only the converter can tell it.

    `given` is the pre-tokenizer that was asked for, `derived` the one to fall back on.
    """
    tokenizer, settings = _files(folder)
    added = {int(token["id"]): token for token in tokenizer.get("added_tokens") or ()}
    _check_class(settings, config, {str(token["content"]): token for token in added.values()})
    if settings.get("add_prefix_space") is not None and config["model_type"] in ("llama", "mistral", "smollm3", "granite"):
        writer.add_add_space_prefix(settings["add_prefix_space"])
    library = _library(folder)
    tokens, types = _tokens(gguf, tokenizer["model"]["vocab"], added, int(config["vocab_size"]), library)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(given or _known(Path(tree), library) or derived or _unknown())
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    gguf.SpecialVocab(folder, load_merges=True).add_to_gguf(writer, quiet=True)
    if config["model_type"] in ("llama", "mistral", "smollm3", "granite") and config["vocab_size"] == 49152:
        writer.add_add_bos_token(False)


def words_of(folder: Path) -> int | None:
    """Return how many tokens a tokenizer.json tells of; None where another file is the tokenizer."""
    if (folder / "tokenizer.model").is_file() or not (folder / "tokenizer.json").is_file():
        return None
    told = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    return len(told["model"]["vocab"]) + len(told["added_tokens"])


def _files(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    if any((folder / name).is_file() for name in ("tokenizer.model", "tekken.json", "added_tokens.json")):
        raise Refusal("vocabulary", "the tokenizer is SentencePiece's or has files of an older form")
    try:
        found = [json.loads((folder / name).read_text("utf-8")) for name in ("tokenizer.json", "tokenizer_config.json")]
    except (OSError, ValueError) as error:
        raise Refusal("vocabulary", f"the tokenizer's files cannot be read ({error})") from error
    tokenizer, settings = found
    model = tokenizer.get("model") or {}
    if model.get("type") != "BPE" or model.get("byte_fallback") or not isinstance(model.get("vocab"), dict):
        raise Refusal("vocabulary", "the tokenizer is no byte-level BPE")
    return tokenizer, settings


def _check_class(settings: dict[str, Any], config: Mapping[str, Any], added: Mapping[str, dict[str, Any]]) -> None:
    """Raise Refusal where transformers may make another vocabulary of the files than they hold."""
    named = str(settings.get("tokenizer_class"))
    if named not in _CLASSES:
        raise Refusal("vocabulary", f"the tokenizer is a {named}")
    wanted = set(_CLASSES[named])
    if str(config.get("model_type")).startswith("qwen"):
        wanted |= set(_CLASSES["Qwen2Tokenizer"])  # which class it was saved as does not count there
    for name in _SPECIAL:
        told = settings.get(name)
        wanted |= {str(told["content"] if isinstance(told, dict) else told)} if told else set()
    for name in ("additional_special_tokens", "extra_special_tokens"):
        more = settings.get(name) or ()
        more = more.values() if isinstance(more, dict) else more
        wanted |= {str(told["content"] if isinstance(told, dict) else told) for told in more}
    if strips := [text for text, token in added.items() if token.get("lstrip") or token.get("rstrip")]:
        raise Refusal("vocabulary", f"the token {strips[0]!r} takes blanks along")
    for text in wanted:
        if not added.get(text, {}).get("special"):
            raise Refusal("vocabulary", f"the token {text!r} is special and is not so in tokenizer.json")
    for number, token in (settings.get("added_tokens_decoder") or {}).items():
        mine = added.get(str(token.get("content")), {})
        if any(mine.get(name) != told for name, told in {**token, "id": int(number)}.items()):
            raise Refusal("vocabulary", f"the token {token.get('content')!r} is not the same in both of its files")


def _library(folder: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise Refusal("vocabulary", "the library tokenizers is not installed") from error
    try:
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises nothing narrower
        raise Refusal("data", f"{folder}/tokenizer.json cannot be read: {error}") from error


def _tokens(
    gguf: Any, vocabulary: Mapping[str, int], added: Mapping[int, dict[str, Any]], size: int, library: Any
) -> tuple[list[str], list[int]]:
    """Return each id's text and kind; ids that no token has are filled up to the model's own size."""
    kinds = gguf.TokenType
    tokens = [f"[PAD{number}]" for number in range(size)]
    types = [int(kinds.UNUSED)] * size
    for text, number in vocabulary.items():
        if not 0 <= number < size:
            raise Refusal("data", f"tokenizer.json has the id {number}, and the model knows {size}. Use its own tokenizer.")
        tokens[number], types[number] = text, int(kinds.NORMAL)
    for number, token in added.items():
        text = str(token["content"])
        if not 0 <= number < size:
            raise Refusal("data", f"tokenizer.json has the id {number}, and the model knows {size}. Use its own tokenizer.")
        ids = library.encode(text, add_special_tokens=False).ids
        if not token.get("normalized") and library.decode(ids, skip_special_tokens=False) != text:
            raise Refusal("vocabulary", f"the token {text!r} is not read back as it was written")
        control = token.get("special") or _looks_special(text)
        tokens[number] = text if control else text.replace("\u2581", " ")
        types[number] = int(kinds.CONTROL if control else kinds.USER_DEFINED)
    return tokens, types


def _looks_special(text: str) -> bool:
    """Say what the converter says: some tokenizers do not mark all of their control tokens."""
    bounds = (("<|", "|>"), ("<\uff5c", "\uff5c>"), ("<unused", ">"))
    named = text in ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
    return named or any(text.startswith(first) and text.endswith(last) for first, last in bounds)


def _known(tree: Path, library: Any) -> str | None:
    """Return the pre-tokenizer of a published tokenizer, which the converter knows by how it splits one text."""
    source = (tree / "conversion" / "base.py").read_text("utf-8")
    probe = _PROBE.search(source)
    if probe is None:
        raise Refusal("vocabulary", "the converter's own test of tokenizers was not found in its source")
    ids = library.encode(ast.literal_eval(probe[1])).ids
    return dict(_KNOWN.findall(source)).get(sha256(str(ids).encode()).hexdigest())


def _unknown() -> str:
    raise Refusal(
        "backend",
        "llama.cpp knows no pre-tokenizer that splits text as this tokenizer.json does; "
        "if you know better, name one with the exporter's option `pre` (the parity gate will judge it)",
    )
