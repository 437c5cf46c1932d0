"""What is changed of the converter's own code while it runs, in its child process, and nowhere else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from pillm_llamacpp.converting import spm


class Refused(Exception):
    """The model cannot be converted, for a reason that a person can act on."""

    kind = "backend"


class Splits(NamedTuple):
    """How a tokenizer treats blanks, where llama.cpp must be told."""

    space_before: bool | None
    """Whether a space goes before a text; None where the tokenizer is not of SentencePiece's style."""
    strips: bool
    """Whether special tokens take the blanks after them along."""


_STRIPPING = re.compile(r"(phi)-?(3)", re.IGNORECASE)
"""The names of models whose special tokens llama.cpp lets take the blanks along: the file's name for itself decides."""


def answer_pre(model: Any, job: dict[str, Any]) -> None:
    """Use the pre-tokenizer that was chosen; else what the converter knows by hash; else what was derived."""
    known = model.get_vocab_base_pre

    def answer(self: Any, tokenizer: Any) -> str:
        if job["pre"]:
            return str(job["pre"])
        try:
            return str(known(self, tokenizer))
        except NotImplementedError:
            if job["derived"]:
                return str(job["derived"])
            raise Refused(
                "llama.cpp knows no pre-tokenizer that splits text as this tokenizer.json does; "
                "if you know better, name one with the exporter's option `pre` (the parity gate will judge it)"
            ) from None

    model.get_vocab_base_pre = answer


def read_tokenizer_json(model: Any, phi3: Any) -> None:
    """Take a SentencePiece-style vocabulary from tokenizer.json, as transformers does; tokenizer.model may be gone, or old."""
    from_file, byte_level, phi3_vocabulary = model._create_vocab_sentencepiece, model._set_vocab_gpt2, phi3.set_vocab

    def create(self: Any) -> Any:
        parsed = _sentence_pieces(self.dir_model)
        if parsed is None:
            return from_file(self)
        try:
            return spm.vocabulary_of(parsed, self.find_hparam(["vocab_size_per_layer_input", "vocab_size"], optional=True))
        except ValueError as error:
            raise Refused(str(error)) from error

    def set_byte_level(self: Any) -> None:
        if _sentence_pieces(self.dir_model) is None:
            byte_level(self)
        else:
            self._set_vocab_sentencepiece()

    def set_phi3(self: Any) -> None:
        if _sentence_pieces(self.dir_model) is None and (self.dir_model / "tokenizer.model").is_file():
            phi3_vocabulary(self)
        else:
            set_byte_level(self)

    model._create_vocab_sentencepiece, model._set_vocab_gpt2, phi3.set_vocab = create, set_byte_level, set_phi3


def _sentence_pieces(folder: Path) -> dict[str, Any] | None:
    path = folder / "tokenizer.json"
    parsed = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return parsed if spm.spaces_of(parsed) is not None else None


def space_before(tokenizer: Any, text: str) -> bool | None:
    """Return whether llama.cpp must put a space before a text, as the tokenizer does; None where it never splits so.

    `text` is a conversation: where a space goes before its start alone, a special token there leaves it out.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    steps = {name: getattr(backend, name) for name in ("normalizer", "pre_tokenizer")}
    told = {name: json.loads(step.__getstate__()) for name, step in steps.items() if step is not None}
    spaces = spm.spaces_of({"model": {"type": type(backend.model).__name__}, **told})
    if spaces != "first":
        return None if spaces is None else spaces == "always"
    return not text.startswith(tuple(tokenizer.all_special_tokens))


def strips(tokenizer: Any) -> bool:
    """Say whether special tokens take the blanks after them along."""
    return any(token.special and token.rstrip for token in tokenizer.added_tokens_decoder.values())


def stripping_name(name: str, strip: bool) -> str:
    """Return a model's name, changed as little as makes llama.cpp treat the blanks after special tokens as told."""
    if strip:
        return name if _STRIPPING.search(name) else f"{name} (Phi-3)"
    return _STRIPPING.sub(r"\1 \2", name)


def add_keys(writer: Any, job: dict[str, Any], splits: Splits) -> None:
    """Add pillm's keys and the stop tokens just before the header is written; refuse a token text that repeats."""
    write = writer.write_header_to_file

    def with_keys(self: Any, *args: Any, **kwargs: Any) -> None:
        add_own_keys(self, job["stops"], job["keys"], splits)
        write(self, *args, **kwargs)

    writer.write_header_to_file = with_keys


def add_own_keys(writer: Any, stops: list[str], own: dict[str, Any], splits: Splits | None) -> None:
    """Add the stop tokens and these keys to a writer that has the vocabulary; refuse a token text that repeats.

    `splits` is none where what it says was written already.
    """
    keys = writer.kv_data[0]
    tokens = [text if isinstance(text, str) else bytes(text).decode("utf-8", "replace")
              for text in keys["tokenizer.ggml.tokens"].value]  # fmt: skip
    ids: dict[str, int] = {}
    for index, text in enumerate(tokens):
        if ids.setdefault(text, index) != index:
            raise Refused(f"tokens {ids[text]} and {index} have the same text {text!r}; llama.cpp would abort on it")
    _add_stops(writer, ids, stops)
    if splits is not None and splits.space_before is not None and keys["tokenizer.ggml.model"].value == "llama":
        writer.add_add_space_prefix(splits.space_before)
    if "tokenizer.ggml.add_bos_token" not in keys:
        writer.add_add_bos_token(False)
    named = keys.get("general.name") if splits is None else None  # it tells llama.cpp how to treat blanks
    set_keys(writer, own if named is None else {name: value for name, value in own.items() if name != "general.name"})
    if splits is not None and "general.name" in keys:
        _set_key(writer, "general.name", stripping_name(keys["general.name"].value, splits.strips))


def set_keys(writer: Any, keys: Mapping[str, str | int | list[str]]) -> None:
    """Set keys in place of what was guessed for them from a folder's name."""
    for name, value in keys.items():
        _set_key(writer, name, value)


def _set_key(writer: Any, name: str, value: str | int | list[str]) -> None:
    """Set a key in place of what was guessed for it from a folder's name."""
    add = writer.add_array if isinstance(value, list) else writer.add_uint32 if isinstance(value, int) else writer.add_string
    add(name, value)


def _add_stops(writer: Any, ids: dict[str, int], stops: list[str]) -> None:
    """Make the contract's stop tokens end a generation: the first is eot and, unless it is eos, the second is eom."""
    eos = writer.kv_data[0].get("tokenizer.ggml.eos_token_id")
    known = [ids[text] for text in stops if text in ids]
    if not known:
        return
    writer.add_eot_token_id(known[0])
    others = [stop for stop in known[1:] if eos is None or stop != eos.value]
    if others:
        writer.add_eom_token_id(others[0])


def show_progress(events: Any) -> None:
    """Send how many bytes are written, instead of drawing a bar."""

    class Bar:
        def __init__(self, *_: object, total: int | None = None, **__: object) -> None:
            self.done, self.total = 0, total

        def update(self, by: int) -> None:
            self.done += by
            events.send(progress=self.done, total=self.total)

    # the converter takes it from there when it writes the tensors
    import_module("tqdm").tqdm = Bar  # type: ignore[attr-defined]
