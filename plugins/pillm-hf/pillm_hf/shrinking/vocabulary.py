"""Trim a byte-level BPE vocabulary to the tokens of a task, so that every text of the task keeps its tokens.

Let K be the tokens kept, and let the merges kept be all those whose two parts and whose result are in K. Where K holds
whatever was built on the way to a text's tokens, every merge that BPE chose for that text is kept; it was the first in rank
among all merges, so it is the first among fewer: the same choice at each step, the same tokens at the end. K holds all
bytes, so any other text is encoded too, in smaller pieces. Nothing here imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pillm

MULTIPLE = 64  # matrix kernels read so many rows at once; the rows themselves are as wide as the model, whatever their number
_COPIED = ("chat_template.jinja", "chat_template.json", "special_tokens_map.json")
_IDS = ("_token_id", "_token_ids", "suppress_tokens")


@dataclass(frozen=True, slots=True)
class Trimmed:
    """A parsed tokenizer.json with fewer tokens, and the old id of each new one, ascending."""

    tokenizer: dict[str, Any]
    kept: list[int]

    @property
    def new_ids(self) -> dict[int, int]:
        """Return the new id of each old one that was kept."""
        return {old: new for new, old in enumerate(self.kept)}


KEPT_FILE = "kept_tokens.json"
"""Beside a student with a trimmed vocabulary: {"before": tokens of the base, "kept": the base's id of each of its own}."""


def write_kept(trimmed: Trimmed, before: int, folder: Path) -> None:
    """Write which of the base's tokens a student kept, so that what was stored by the base's ids can be read by its own."""
    (folder / KEPT_FILE).write_text(json.dumps({"before": before, "kept": trimmed.kept}) + "\n", "utf-8")


def read_kept(folder: Path) -> dict[int, int] | None:
    """Return a student's id of each of its base's tokens that it kept, or None where its vocabulary is the base's.

    Raises DataError where the file is damaged.
    """
    path = folder / KEPT_FILE
    if not path.is_file():
        return None
    try:
        said = json.loads(path.read_text("utf-8"))
        kept, before = said["kept"], said["before"]
        ascending = all(one < two for one, two in pairwise([-1, *kept, before]))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise pillm.DataError(f"{path} is damaged ({error}). Train again.") from error
    if not ascending or not all(type(index) is int for index in (*kept, before)):
        raise pillm.DataError(f"{path} is damaged: its ids do not ascend. Train again.")
    return {old: new for new, old in enumerate(kept)}


def read_tokenizer(folder: Path) -> dict[str, Any]:
    """Return a folder's tokenizer.json; raise ConfigError where it is not a byte-level BPE, which alone can be trimmed."""
    path = folder / "tokenizer.json"
    try:
        tokenizer: dict[str, Any] = json.loads(path.read_text("utf-8"))
        fault = _fault(tokenizer)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise pillm.ConfigError(
            f"trim_vocabulary: {path} cannot be read ({error}). Save the base's tokenizer as tokenizer.json first."
        ) from error
    if fault:
        raise pillm.ConfigError(
            f"trim_vocabulary: the tokenizer of {folder.name} {fault}; only a byte-level BPE (GPT-2, Llama 3, Qwen) can "
            "lose tokens and still write every text. Leave trim_vocabulary out, or choose such a base."
        )
    return tokenizer


def _fault(tokenizer: dict[str, Any]) -> str | None:
    """Return why a tokenizer cannot be trimmed, or None."""
    model, steps = tokenizer["model"], [tokenizer.get("pre_tokenizer") or {}]
    steps += steps[0].get("pretokenizers") or []
    if model.get("type") != "BPE":
        return f"is a {model.get('type')} model"
    if not any(step.get("type") == "ByteLevel" for step in steps):
        return "does not work on bytes"
    odd = [name for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback") if model.get(name)]
    return f"has {', '.join(odd)}" if odd else None


def trim(tokenizer: dict[str, Any], used: Iterable[int], least: int = 0) -> Trimmed:
    """Return a tokenizer with the tokens of the ids `used`, what they are built of, all bytes and all added tokens.

    The base's most common further tokens fill it up to `least` tokens and a multiple of 64, so that no row of the
    model's tables is left without a token. `used` may hold ids that no token has.
    """
    model = tokenizer["model"]
    vocabulary: dict[str, int] = model["vocab"]
    added = {token["content"]: token["id"] for token in tokenizer.get("added_tokens") or []}
    texts = {index: text for text, index in vocabulary.items()}
    pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    ranks = {pair: rank for rank, pair in reversed(list(enumerate(pairs)))}

    kept = {text for text in vocabulary if len(text) == 1} | {model.get("unk_token")} & vocabulary.keys()
    for text in {texts[index] for index in used if index in texts} - added.keys():
        kept.update(_built(text, ranks, vocabulary))
    kept |= added.keys() & vocabulary.keys()
    beside = added.keys() - kept  # added tokens that the model itself does not have
    _fill(kept, pairs, vocabulary, len(beside), least)

    ids = sorted({vocabulary[text] for text in kept} | set(added.values()))
    new = {old: index for index, old in enumerate(ids)}
    merges = [merge for merge, (one, two) in zip(model["merges"], pairs, strict=True) if {one, two, one + two} <= kept]
    by_id = sorted(kept, key=vocabulary.__getitem__)
    smaller = {**model, "vocab": {text: new[vocabulary[text]] for text in by_id}, "merges": merges}
    return Trimmed(_renumbered({**tokenizer, "model": smaller}, new), ids)


def _built(text: str, ranks: Mapping[tuple[str, ...], int], vocabulary: Mapping[str, int]) -> set[str]:
    """Return a token and every smaller one that BPE makes on the way to it.

    What happens inside a token's span does not depend on the text around it, for no merge crossed its edges.
    """
    made, parts = {text}, list(text)
    while len(parts) > 1:
        pairs = list(pairwise(parts))
        place = min(range(len(pairs)), key=lambda index: (ranks.get(pairs[index], len(ranks)), index))
        if pairs[place] not in ranks:
            break  # a token that no merge leads to is found as a whole word, or never
        parts[place : place + 2] = ["".join(pairs[place])]
        made.add(parts[place])
    return made & vocabulary.keys()


def _fill(kept: set[str], pairs: Iterable[tuple[str, ...]], vocabulary: Mapping[str, int], beside: int, least: int) -> None:
    """Add the results of the earliest merges, which are the most common tokens, up to `least` and to a whole multiple."""
    wanted = -(-max(len(kept) + beside, least) // MULTIPLE) * MULTIPLE - beside
    for one, two in pairs:
        if len(kept) >= wanted:
            return
        if one in kept and two in kept and one + two in vocabulary:
            kept.add(one + two)


def _renumbered(tokenizer: dict[str, Any], new: Mapping[int, int]) -> dict[str, Any]:
    """Return a tokenizer whose added tokens, padding and post-processor carry the new ids."""
    added = [{**token, "id": new[token["id"]]} for token in tokenizer.get("added_tokens") or []]
    padding = tokenizer.get("padding")
    if padding:
        padding = {**padding, "pad_id": new.get(padding.get("pad_id"), 0)}
    processor = _processor(tokenizer.get("post_processor"), new)
    return {**tokenizer, "added_tokens": added, "padding": padding, "post_processor": processor}


def _processor(processor: dict[str, Any] | None, new: Mapping[int, int]) -> dict[str, Any] | None:
    if not processor:
        return processor
    made = dict(processor)
    if "processors" in made:
        made["processors"] = [_processor(step, new) for step in made["processors"]]
    for name, token in (made.get("special_tokens") or {}).items():
        made["special_tokens"] = {**made["special_tokens"], name: {**token, "ids": [new[index] for index in token["ids"]]}}
    for name in ("sep", "cls"):
        if name in made:
            made[name] = [made[name][0], new[made[name][1]]]
    return made


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the texts of a file with their line numbers: its lines, or every string in the rows of a .jsonl file.

    Raises DataError where the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for number, line in enumerate(file, 1):
                if path.suffix != ".jsonl":
                    yield number, line
                elif line.strip():
                    yield from ((number, text) for text in _strings(json.loads(line)))
    except (OSError, ValueError) as error:
        raise pillm.DataError(f"vocabulary_files: {path} is neither UTF-8 text nor JSON lines ({error}).") from error


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for inner in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _strings(inner)


def named_ids(*settings: Mapping[str, Any]) -> set[int]:
    """Return the token ids that a config.json or generation_config.json names (end of text, padding, ...)."""
    found = (value for one in settings for name, value in one.items() if name.endswith(_IDS))
    return {index for value in found for index in (value if isinstance(value, list) else [value]) if isinstance(index, int)}


def renamed_ids(settings: Mapping[str, Any], new: Mapping[int, int]) -> dict[str, Any]:
    """Return a config.json or generation_config.json with the new ids; one that no token has becomes null."""

    def renamed(value: Any) -> Any:
        return [new[index] for index in value if index in new] if isinstance(value, list) else new.get(value)

    return {name: renamed(value) if name.endswith(_IDS) else value for name, value in settings.items()}


def write_tokenizer(trimmed: Trimmed, base: Path, out: Path) -> None:
    """Write the trimmed tokenizer, in every form that the base has, and what belongs to it: settings and chat template."""
    new, model = trimmed.new_ids, trimmed.tokenizer["model"]
    for name in _COPIED:
        if (base / name).is_file():
            (out / name).write_bytes((base / name).read_bytes())
    _write(out / "tokenizer.json", trimmed.tokenizer)
    settings = _read(base / "tokenizer_config.json")
    decoder = settings.get("added_tokens_decoder") or {}
    if decoder:
        settings["added_tokens_decoder"] = {str(new[int(old)]): token for old, token in decoder.items() if int(old) in new}
    _write(out / "tokenizer_config.json", settings)
    if (base / "vocab.json").is_file():
        _write(out / "vocab.json", model["vocab"])
    if (base / "merges.txt").is_file():
        lines = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
        (out / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{line}\n" for line in lines), "utf-8")
    if (base / "added_tokens.json").is_file():
        named = _read(base / "added_tokens.json")
        _write(out / "added_tokens.json", {text: new[old] for text, old in named.items() if old in new})


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
