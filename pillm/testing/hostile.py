"""Files that were made to do harm, one for each way that is known, and one that is sound of each kind. Own generators."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pillm.testing.ggufs import Typed, encoded, gguf, text

TEMPLATE: Final = "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n' }}{% endfor %}"
MODEL: Final[dict[str, Any]] = {
    "general.architecture": "llama", "general.alignment": 32, "llama.block_count": 1, "llama.context_length": 64,
    "llama.embedding_length": 8, "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": ["<unk>", "<0x0A>", "a", "b"],
    "tokenizer.ggml.scores": [0.0, 0.0, 0.0, 0.0], "tokenizer.ggml.token_type": [2, 6, 1, 1],
    "tokenizer.chat_template": TEMPLATE,
}  # fmt: skip
TENSORS: Final = [("token_embd.weight", (8, 4), 0, 0), ("output_norm.weight", (8,), 0, 128)]
SOUND: Final = gguf(MODEL, TENSORS, 160)
_HUGE: Final = 1 << 62


def write_hostile(folder: Path) -> dict[str, Path]:
    """Write every hostile file below a folder and return them by what is wrong with each; a folder stands for a model."""
    made: dict[str, Path] = {}
    for ending, files in (("gguf", ggufs()), ("safetensors", tensor_files())):
        for name, raw in files:
            made[f"{ending}: {name}"] = _written(folder / ending / f"{_slug(name)}.{ending}", raw)
    for name, told in tokenizers():
        made[f"tokenizer: {name}"] = _written(folder / "tokenizers" / _slug(name) / "tokenizer.json", _raw(told))
    for name, parts in folders():
        for file, content in parts.items():
            _written(folder / "folders" / _slug(name) / file, content)
        made[f"folder: {name}"] = folder / "folders" / _slug(name)
    return made


def ggufs() -> Iterator[tuple[str, bytes]]:
    """Yield GGUF files by what is wrong with them."""
    yield from _heads()
    yield from _values()
    yield from _tensors()
    yield from _vocabularies()


def _heads() -> Iterator[tuple[str, bytes]]:
    yield "too many tensors", gguf(MODEL, TENSORS, 160, counts=(1 << 60, 10))
    yield "too many keys", gguf(MODEL, TENSORS, 160, counts=(2, 1 << 60))
    yield "more keys than fit", gguf(MODEL, TENSORS, 160, counts=(2, 9000))
    yield "the other byte order", b"GGUF" + struct.pack(">IQQ", 3, 1, 1) + bytes(64)
    yield "an old version", gguf(MODEL, TENSORS, 160, version=1)
    yield "a version to come", gguf(MODEL, TENSORS, 160, version=4)
    yield "another magic", b"GGML" + SOUND[4:]
    yield "nothing after the magic", b"GGUF"


def _values() -> Iterator[tuple[str, bytes]]:
    yield "a key that claims a huge length", gguf([], counts=(0, 1))[:24] + struct.pack("<Q", _HUGE) + bytes(64)
    yield "a long key", gguf([("k" * 5000, 1)])
    yield "an empty key", gguf([("", 1)])
    yield "a key with an escape sequence", gguf([("general.\x1b]0;owned\x07", 1)])
    yield "a key that is not UTF-8", gguf([(b"general.\xff\xfe", 1)])
    yield "a key that stands twice", gguf([("a", 1), ("a", 2)])
    yield "an unknown type of value", gguf([("a", struct.pack("<IQ", 99, 0))])
    yield "a text that claims a huge length", gguf([("a", struct.pack("<IQ", 8, _HUGE))])
    yield "a text that wraps around", gguf([("a", struct.pack("<IQ", 8, (1 << 64) - 8))])
    yield "an array that claims a huge length", gguf([("a", struct.pack("<IIQ", 9, 5, _HUGE))])
    yield "an array of texts that claims a huge length", gguf([("a", struct.pack("<IIQ", 9, 8, _HUGE))])
    yield "arrays within arrays", gguf([("a", struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000)])
    yield "an array of an unknown type", gguf([("a", struct.pack("<IIQ", 9, 13, 1) + bytes(8))])
    yield "neither true nor false", gguf([("a", struct.pack("<IB", 7, 200))])
    yield "an alignment of 0", gguf({**MODEL, "general.alignment": 0}, TENSORS, 160)
    yield "an alignment that is no power of two", gguf({**MODEL, "general.alignment": 33}, TENSORS, 160)
    yield "a huge alignment", gguf({**MODEL, "general.alignment": 1 << 31}, TENSORS, 160)
    yield "an alignment of another type", gguf({**MODEL, "general.alignment": Typed(10, 32)}, TENSORS, 160)


def _tensors() -> Iterator[tuple[str, bytes]]:
    yield "a tensor of five dimensions", gguf(MODEL, [("w", (1,) * 5, 0, 0)], 64)
    yield "a tensor of no dimensions", gguf(MODEL, [("w", (), 0, 0)], 64)
    yield "a side of nothing", gguf(MODEL, [("w", (0, 8), 0, 0)], 64)
    yield "sides whose product wraps around", gguf(MODEL, [("w", (1 << 32, 1 << 32), 0, 0)], 64)
    yield "a negative side", gguf(MODEL, [("w", (1 << 63,), 0, 0)], 64)
    yield "a size that wraps when it is padded", gguf(MODEL, [("w", ((1 << 62) - 1,), 0, 0)], 64)
    yield "an unknown storage type", gguf(MODEL, [("w", (32,), 77, 0)], 64)
    yield "a storage type that was removed", gguf(MODEL, [("w", (32,), 4, 0)], 64)
    yield "rows that do not divide into blocks", gguf(MODEL, [("w", (33,), 2, 0)], 64)
    yield "data outside of the file", gguf(MODEL, [("w", (1 << 20,), 0, 0)], 64)
    yield "data that overlaps", gguf(MODEL, [("v", (8,), 0, 0), ("w", (8,), 0, 0)], 64)
    yield "an offset off the alignment", gguf(MODEL, [("w", (8,), 0, 4)], 64)
    yield "an offset that wraps around", gguf(MODEL, [("v", (8,), 0, 0), ("w", (8,), 0, (1 << 64) - 32)], 64)
    yield "a hole between tensors", gguf(MODEL, [("v", (8,), 0, 0), ("w", (8,), 0, 1024)], 2048)
    yield "two tensors of one name", gguf(MODEL, [("w", (8,), 0, 0), ("w", (8,), 0, 32)], 64)
    yield "a tensor with a long name", gguf(MODEL, [("w" * 200, (8,), 0, 0)], 64)


def _vocabularies() -> Iterator[tuple[str, bytes]]:
    def model(**keys: Any) -> bytes:
        return gguf({**MODEL, **{key.replace("__", "."): value for key, value in keys.items()}}, TENSORS, 160)

    yield "two tokens of one text", model(tokenizer__ggml__tokens=["<unk>", "<0x0A>", "a", "a"])
    yield "fewer scores than tokens", model(tokenizer__ggml__scores=[0.0])
    yield "fewer types than tokens", model(tokenizer__ggml__token_type=[2, 6])
    yield "scores of another type", model(tokenizer__ggml__scores=["0", "0", "0", "0"])
    yield "tokens that are numbers", model(tokenizer__ggml__tokens=[1, 2, 3, 4])
    yield "a byte beyond a byte", model(tokenizer__ggml__tokens=["<unk>", "<0x-1>", "a", "b"])
    yield "a byte without its text", model(tokenizer__ggml__tokens=["<unk>", "<", "a", "b"])
    yield (
        "more tokens than embeddings",
        model(
            tokenizer__ggml__tokens=["<unk>", "<0x0A>", "a", "b", "c"],
            tokenizer__ggml__scores=[0.0] * 5,
            tokenizer__ggml__token_type=[2, 6, 1, 1, 1],
        ),
    )
    yield "a merge of one part", model(tokenizer__ggml__model="gpt2", tokenizer__ggml__merges=["ab"])
    yield "tokens that are not UTF-8", model(tokenizer__ggml__tokens=["<unk>", "<0x0A>", b"\xc3", b"\xa9"])
    yield (
        "four billion tokens without a list",
        gguf({"general.architecture": "llama", "tokenizer.ggml.model": "none", "llama.vocab_size": 0xFFFFFFFF}),
    )
    yield "a million layers", gguf({**MODEL, "llama.block_count": 1 << 20}, TENSORS, 160)
    yield "a template of another type", model(tokenizer__chat_template=1)
    yield (
        "a template that never ends",
        model(tokenizer__chat_template="{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"),
    )
    yield "a template that escapes", model(tokenizer__chat_template="{{ messages.__class__.__mro__ }}")
    yield "split into a million files", model(split__count=Typed(2, 60_000))


def tensor_files() -> Iterator[tuple[str, bytes]]:
    """Yield safetensors files by what is wrong with them."""
    sound = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}

    def with_(**told: Any) -> bytes:
        return safetensors({"w": {**sound["w"], **told}}, 8)

    yield "a header of exabytes", struct.pack("<Q", _HUGE) + b"{}"
    yield "a header longer than the file", struct.pack("<Q", 4096) + b"{}"
    yield "fewer than eight bytes", b"\x02\x00"
    yield "a header that is a list", struct.pack("<Q", 8) + b"[]      "
    yield "nested a thousand deep", safetensors(b'{"w":' + b"[" * 1000 + b"]" * 1000 + b"}", 8)
    yield (
        "a name that stands twice",
        safetensors(
            b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8
        ),
    )
    yield "an unknown type", with_(dtype="F128")
    yield "a negative side", with_(shape=[-2])
    yield "a side of half a weight", with_(shape=[2.5])
    yield "sides whose product wraps around", with_(shape=[1 << 32, 1 << 32])
    yield "a shape of other bytes", with_(shape=[3])
    yield "offsets turned round", with_(data_offsets=[8, 0])
    yield "data outside of the file", safetensors({"w": {"dtype": "U8", "shape": [64], "data_offsets": [0, 64]}}, 8)
    yield "data that overlaps", safetensors({**sound, "v": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, 12)
    yield "a hole between tensors", safetensors({**sound, "v": {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]}}, 24)
    yield "bytes after the last tensor", safetensors(sound, 64)
    yield "metadata that is no text", safetensors({**sound, "__metadata__": {"a": 1}}, 8)
    yield "a header full of spaces", safetensors(json.dumps(sound).encode() + b" " * (3 << 20), 8)
    yield "a header that is not UTF-8", safetensors(b'{"\xff":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8)
    yield "a pickle by that name", b"\x80\x04\x95\x00\x00\x00\x00\x00" + b"cos\nsystem\n"


def tokenizers() -> Iterator[tuple[str, Any]]:
    """Yield tokenizer.json documents by what is wrong with them."""
    yield "nested a thousand deep", b'{"model":' + b"[" * 1000 + b"]" * 1000 + b"}"
    yield "nested a million deep", b"[" * 1_000_000
    yield "a name that stands twice", b'{"model":{"type":"BPE","vocab":{"a":0,"a":1},"merges":[]}}'
    yield "no model", {}
    yield "an unknown kind", _tokenizer(model={"type": "Pickle", "vocab": {}})
    yield "an id of four billion", _tokenizer(vocab={"a": 0, "b": 0xFFFFFFFF})
    yield "a negative id", _tokenizer(vocab={"a": -1})
    yield "two texts of one id", _tokenizer(vocab={"a": 0, "b": 0})
    yield "merges of one part", _tokenizer(merges=["ab"])
    yield "an added token without a text", _tokenizer(added_tokens=[{"id": 2, "content": ""}])
    yield (
        "a normalizer that grows text",
        _tokenizer(
            normalizer={
                "type": "Sequence",
                "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"} for _ in range(40)],
            }
        ),
    )
    yield "padding to a billion tokens", _tokenizer(padding={"strategy": {"Fixed": 1 << 30}, "pad_id": 0, "pad_token": "a"})
    pattern = {"Regex": "(a|" * 20_000}
    yield "an endless pattern", _tokenizer(pre_tokenizer={"type": "Split", "pattern": pattern, "behavior": "Isolated"})
    yield "a byte order mark", b"\xef\xbb\xbf{}"
    yield "cut off", json.dumps(_tokenizer()).encode()[:-9]


def folders() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield model folders, as files and their bytes, by what is wrong with them."""
    table = {"model.embed_tokens.weight": {"dtype": "F32", "shape": [4, 2], "data_offsets": [0, 32]}}
    sound = {"config.json": _raw({"model_type": "llama", "vocab_size": 4}), "model.safetensors": safetensors(table, 32)}
    index = "model.safetensors.index.json"
    for what, place in (
        ("up", "../model.safetensors"),
        ("away", "/etc/passwd"),
        ("into a folder", "a/b.safetensors"),
        ("to a pickle", "model.bin"),
    ):
        yield f"an index that leads {what}", {**sound, index: _raw({"weight_map": {"w": place}})}
    yield "an index to a file that is not there", {**sound, index: _raw({"weight_map": {"w": "model-2.safetensors"}})}
    yield "a vocabulary of billions", {**sound, "config.json": _raw({"vocab_size": 1 << 40})}
    yield "a vocabulary that is not in the weights", {**sound, "config.json": _raw({"vocab_size": 400})}
    yield "a thousand million layers", {**sound, "config.json": _raw({"num_hidden_layers": 10**9})}
    yield "code that trusts itself", {**sound, "config.json": _raw({"text_config": {"trust_remote_code": True}})}
    yield "a template that escapes", {**sound, "chat_template.jinja": b"{{ ''.__class__.__base__.__subclasses__() }}"}
    yield "an added token far away", {**sound, "tokenizer_config.json": _raw({"added_tokens_decoder": {"99999999": {}}})}


def safetensors(header: dict[str, Any] | bytes, data: int) -> bytes:
    """Return a safetensors file with so many bytes of data."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(data)


def _tokenizer(**changed: Any) -> dict[str, Any]:
    model = {"type": "BPE", "vocab": changed.pop("vocab", {"a": 0, "b": 1, "ab": 2}), "merges": changed.pop("merges", ["a b"])}
    return {"version": "1.0", "model": model, "added_tokens": [], **changed}


def _raw(told: Any) -> bytes:
    return told if isinstance(told, bytes) else json.dumps(told).encode()


def _slug(name: str) -> str:
    return name.replace(" ", "-")


def _written(path: Path, raw: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    return path


__all__ = ["MODEL", "SOUND", "TENSORS", "encoded", "folders", "ggufs", "tensor_files", "text", "tokenizers", "write_hostile"]
