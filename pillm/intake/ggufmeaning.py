"""What a GGUF file's metadata must mean for llama.cpp to live through it: its own asserts, asked before it is.

Source: `src/llama-vocab.cpp` (load), `src/llama-model-loader.cpp` and `src/llama-model.cpp` of llama.cpp 0.5.0-dev (commit
0c1e57098). What it only reports, in a sentence and without dying, is left to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from pillm.intake.configfiles import MAX_TEMPLATE
from pillm.intake.faults import Fault, shown
from pillm.intake.gguf import ARRAY, FLOAT32, INT32, STRING, Entry, Head

MAX_SPLITS: Final = 512
TEMPLATE = "tokenizer.chat_template"
TEMPLATE_HASH = "pillm.template"
"""The sha256 of the template that the student was trained with."""

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BYTE = re.compile(rb"<0x[0-9A-Fa-f]{2}>")
_BYTE_TYPE = 6
_WITH_BYTES = ("llama", "t5", "gemma4", "plamo2")
_WITH_MERGES = ("gpt2", "gemma4")
_WITHOUT_TOKENS = ("none", "no_vocab")
_TEXTS = ("general.architecture", "general.name", "general.type", "tokenizer.ggml.model", "tokenizer.ggml.pre", TEMPLATE)
_ARRAYS: Final = {
    "tokenizer.ggml.tokens": (STRING,),
    "tokenizer.ggml.merges": (STRING,),
    "tokenizer.ggml.scores": (FLOAT32, INT32),
    "tokenizer.ggml.token_type": (INT32,),
}
_MOST: Final = {
    "block_count": 1024, "context_length": 1 << 31, "embedding_length": 1 << 20, "expert_count": 4096, "vocab_size": 1 << 22,
}  # fmt: skip
_SPECIAL = re.compile(r"tokenizer\.ggml\.(bos|eos|eot|eom|unknown|seperator|separator|padding|mask|cls)_token_id")
_NONE = 0xFFFFFFFF


def check_meaning(head: Head) -> tuple[str, ...]:
    """Raise Fault for what llama.cpp would die of; return what a person should know."""
    _check_kinds(head.metadata)
    _check_numbers(head)
    _check_tokens(head)
    return tuple(_notes(head))


def templates_of(head: Head) -> tuple[str, ...]:
    """Return the chat templates that a file carries."""
    found = (entry.value for key, entry in head.metadata.items() if key == TEMPLATE or key.startswith(f"{TEMPLATE}."))
    return tuple(text for text in found if isinstance(text, str))


def parts_of(head: Head, name: str) -> tuple[str, ...]:
    """Return the names of the files that llama.cpp opens with the first part of a split model, which stand beside it."""
    entry = head.metadata.get("split.count")
    count = entry.value if entry else 0
    if not isinstance(count, int) or count <= 1:
        return ()
    at = entry.at if entry else None
    if count > MAX_SPLITS:
        raise Fault(f"it claims to be split into {count} files, more than {MAX_SPLITS}", at)
    ending = f"-00001-of-{count:05d}.gguf"
    if not name.endswith(ending):
        raise Fault(f"it is one of {count} parts; give the first, whose name ends in {ending}", at, broken=True)
    stem = name.removesuffix(ending)
    return tuple(f"{stem}-{number:05d}-of-{count:05d}.gguf" for number in range(2, count + 1))


def _check_kinds(metadata: dict[str, Entry]) -> None:
    for key in _TEXTS:
        entry = metadata.get(key)
        if entry and entry.kind != STRING:
            raise Fault(f"{key} is not a text", entry.at)
    for key, kinds in _ARRAYS.items():
        entry = metadata.get(key)
        if entry and (entry.kind != ARRAY or entry.item_kind not in kinds):
            raise Fault(f"{key} is not the list that it must be", entry.at)
    for key, entry in metadata.items():
        if key.startswith(TEMPLATE) and isinstance(entry.value, str) and len(entry.value) > MAX_TEMPLATE:
            raise Fault(f"{key} is longer than {MAX_TEMPLATE >> 20} MiB", entry.at)
    named = metadata.get("general.architecture")
    if named and not _PLAIN.fullmatch(str(named.value)):
        raise Fault(f"its architecture is called {shown(named.value)}", named.at)


def _check_numbers(head: Head) -> None:
    """Refuse sizes that no model has: room is made for them before anything else is looked at."""
    for key, entry in head.metadata.items():
        most = _MOST.get(key.rpartition(".")[2])
        if most is None or key.count(".") != 1:
            continue
        if not isinstance(entry.value, int) or isinstance(entry.value, bool) or not 0 <= entry.value <= most:
            raise Fault(f"{key} is {shown(entry.value)}; it is a number up to {most}", entry.at)
        if entry.value == 0 and head.tensors and key.endswith((".block_count", ".embedding_length")):
            raise Fault(f"{key} is 0, and it holds {len(head.tensors)} tensors", entry.at)


def _check_tokens(head: Head) -> None:
    entry = head.metadata.get("tokenizer.ggml.tokens")
    named = head.metadata.get("tokenizer.ggml.model")
    model = str(named.value) if named else ""
    if entry is None:
        return
    _refuse_repeated(entry)
    for key in ("tokenizer.ggml.scores", "tokenizer.ggml.token_type"):
        other = head.metadata.get(key)
        if other and other.items < entry.items:
            raise Fault(f"{key} has {other.items} items for {entry.items} tokens", other.at)
    types = head.metadata.get("tokenizer.ggml.token_type")
    if types and model in _WITH_BYTES:
        for token, kind in enumerate(types.numbers()[: entry.items]):
            if kind == _BYTE_TYPE and not _BYTE.fullmatch(entry.texts[token]):
                raise Fault(f"token {token} is said to be a byte and reads {shown(entry.texts[token])}", types.at)
    merges = head.metadata.get("tokenizer.ggml.merges")
    if merges and model in _WITH_MERGES:
        for number, text in enumerate(merges.texts):
            if not 1 <= text.find(b" ", 1) < len(text) - 1:
                raise Fault(f"merge {number} is {shown(text)}, not two parts", merges.at)
    table = next((one for one in head.tensors if one.name == "token_embd.weight"), None)
    if table and model not in _WITHOUT_TOKENS and table.shape[-1] != entry.items:
        raise Fault(f"it names {entry.items} tokens and has embeddings for {table.shape[-1]}", table.at)


def _refuse_repeated(entry: Entry) -> None:
    """Refuse two ids of one text: llama.cpp aborts on them. Empty texts it tells apart by itself."""
    if len(set(entry.texts)) == len(entry.texts):
        return
    ids: dict[bytes, int] = {}
    for token, text in enumerate(entry.texts):
        if text and ids.setdefault(text, token) != token:
            raise Fault(
                f"tokens {ids[text]} and {token} have the same text {shown(text.decode())}; llama.cpp aborts on it", entry.at
            )


def _notes(head: Head) -> Iterator[str]:
    if head.spare:
        yield f"{head.spare} bytes follow its last tensor; nothing reads them"
    tokens = head.metadata.get("tokenizer.ggml.tokens")
    for key, entry in head.metadata.items():
        if tokens and _SPECIAL.fullmatch(key) and isinstance(entry.value, int) and tokens.items <= entry.value != _NONE:
            yield f"{key} is {entry.value}, and there are {tokens.items} tokens; llama.cpp uses another"
    known, template = head.metadata.get(TEMPLATE_HASH), head.metadata.get(TEMPLATE)
    if known and template and _sha256(str(template.value)) != known.value:
        yield "its chat template is not the one that the student was trained with (pillm.template)"


def _sha256(text: str) -> str:
    from hashlib import sha256

    return sha256(text.encode()).hexdigest()
