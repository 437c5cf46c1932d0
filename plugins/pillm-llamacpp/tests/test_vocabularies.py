"""Published vocabularies, as llama.cpp's own tests carry them: a tiny model with one of them is exported and proved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader
from pillm_llamacpp import source
from pillm_llamacpp.exporter import GGUFExporter
from pillm_llamacpp.gates.strings import HARD_STRINGS, NOT_FOR_WORD_PIECE
from pillm_llamacpp.workers.client import Worker
from pillm_llamacpp_zoo import CHAT, write
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

import pillm

SPACE = "\u2581"


@pytest.fixture(scope="module")
def vocabularies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the vocabularies that llama.cpp's source carries."""
    folder = tmp_path_factory.mktemp("source")
    source.unpack(source.archive_path(), folder, tuple(f"models/ggml-vocab-{name}.gguf" for name in MAKERS))
    return folder / "models"


def fields(path: Path) -> dict[str, Any]:
    """Return what a vocabulary file says of its tokenizer."""
    found = GGUFReader(path).fields
    return {key.removeprefix("tokenizer.ggml."): field.contents() for key, field in found.items() if "tokenizer." in key}


def byte_level(told: dict[str, Any]) -> Tokenizer:
    vocabulary = {text: number for number, text in enumerate(told["tokens"])}
    merges = [tuple(pair.split(" ", 1)) for pair in told["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>", *CHAT])
    return tokenizer


def sentence_pieces(told: dict[str, Any]) -> Tokenizer:
    """Make the merges as transformers does of a SentencePiece model: every split of a piece into two pieces, by score."""
    vocabulary = {text: number for number, text in enumerate(told["tokens"])}
    merges: list[tuple[float, int, int, tuple[str, str]]] = []
    for text, score in zip(told["tokens"], told["scores"], strict=True):
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in vocabulary and right in vocabulary:
                merges.append((-score, vocabulary[left], vocabulary[right], (left, right)))
    pairs = [pair for *_, pair in sorted(merges)]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    specials = ("<unk>", "<s>", "</s>", *CHAT)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in specials])
    return tokenizer


def word_piece(told: dict[str, Any]) -> Tokenizer:
    texts = [
        text if kind == 3 else text.removeprefix(SPACE) if text.startswith(SPACE) else f"##{text}"
        for text, kind in zip(told["tokens"], told["token_type"], strict=True)
    ]
    tokenizer = Tokenizer(models.WordPiece(vocab={text: number for number, text in enumerate(texts)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    ids = [(text, texts.index(text)) for text in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ids)
    return tokenizer


MAKERS = {"gpt-2": byte_level, "llama-spm": sentence_pieces, "bert-bge": word_piece}
SHAPES = {"llama-spm": {"num_key_value_heads": 2, "sliding_window": None}}
KINDS = {"gpt-2": "LlamaForCausalLM", "llama-spm": "MistralForCausalLM", "bert-bge": "BertModel"}


@pytest.mark.full
@pytest.mark.parametrize("name", MAKERS)
def test_a_published_vocabulary_is_split_as_llama_cpp_splits_its_own_file_of_it(
    name: str, vocabularies: Path, tmp_path: Path
) -> None:
    published = vocabularies / f"ggml-vocab-{name}.gguf"
    told = fields(published)
    tokenizer = MAKERS[name](told)
    checkpoint = write(tmp_path / name, KINDS[name], tokenizer, num_hidden_layers=1, **SHAPES.get(name, {}))
    exporter = GGUFExporter(quants=("F16", "Q8_0"), threads=1)
    model, _ = exporter.export(checkpoint, tmp_path / "out", pillm.Progress())
    left_out = len(NOT_FOR_WORD_PIECE) if name == "bert-bge" else 0
    assert model.parity == pillm.Parity(rows=len(HARD_STRINGS) - left_out, mismatches=0)
    strings = [text for text in HARD_STRINGS if not any(mark in text for mark in CHAT)]
    ids = []
    for path in (model.path, published):
        with Worker("a test") as worker:
            worker.ask(op="open", path=str(path), vocab_only=True)
            ids.append([worker.ask(op="tokenize", text=text)["ids"] for text in strings])
    different = [text for text, mine, theirs in zip(strings, *ids, strict=True) if mine != theirs]
    assert different == []
