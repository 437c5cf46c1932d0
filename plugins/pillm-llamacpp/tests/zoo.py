"""Small random models of the architectures that people distil, each with a tokenizer of its kind, trained here."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pillm_llamacpp_tiny import SENTENCES
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import pillm

WORDS = ("the", "then", "there", "he", "she", "lumière", "cuisine", "été", "demain", "Write", "writing")
CORPUS = [*SENTENCES * 10, *(f"{word} {number} {word}s." for number, word in enumerate(WORDS * 9))]
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|")
CL100K = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
CHAT = ("<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def byte_level(pattern: str | None = None, *, digits: bool = False, whole_words: bool = False) -> Tokenizer:
    """Return a byte-level BPE that splits as the pattern says, else as GPT-2's, digits first where asked."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=whole_words))
    steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    if pattern:
        steps.append(pre_tokenizers.Split(Regex(pattern), "isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(CORPUS, _trainer(["<|endoftext|>", *CHAT], pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def sentence_pieces(spaces: str, *, strips: bool = False) -> Tokenizer:
    """Return a BPE in SentencePiece's style with byte fallback; a space is put before a text always, first or never.

    With `strips` the blanks after a special token belong to it, as in Phi-3.
    """
    specials = ("<unk>", "<s>", "</s>", *(("<|endoftext|>",) if strips else ()))
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(CORPUS, _trainer([], []))
    learnt = json.loads(trained.to_str())["model"]
    texts = [*specials, *(f"<0x{byte:02X}>" for byte in range(256)), *learnt["vocab"]]
    vocabulary = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    merges = [tuple(pair.split(" ", 1)) if isinstance(pair, str) else tuple(pair) for pair in learnt["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if spaces == "first":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        replace = normalizers.Replace(" ", "\u2581")
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), replace]) if spaces == "always" else replace
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    taking = ("</s>", *CHAT) if strips else ()
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True, normalized=False, rstrip=text in taking) for text in (*specials, *CHAT)]
    )
    return tokenizer


def word_piece(*, lowercase: bool = True) -> Tokenizer:
    """Return a WordPiece tokenizer as BERT has it."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=400, special_tokens=specials, show_progress=False)
    )
    ids = [("[CLS]", tokenizer.token_to_id("[CLS]")), ("[SEP]", tokenizer.token_to_id("[SEP]"))]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ids
    )
    return tokenizer


def byte_level_encoder() -> Tokenizer:
    """Return a byte-level BPE that puts special tokens around a text, as RoBERTa has it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(CORPUS, _trainer(specials, pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    return tokenizer


def _trainer(specials: list[str], alphabet: list[str]) -> trainers.BpeTrainer:
    return trainers.BpeTrainer(vocab_size=480, special_tokens=specials, initial_alphabet=alphabet, show_progress=False)


def write(
    folder: Path, kind: str, tokenizer: Tokenizer, *, named: str = "PreTrainedTokenizerFast", **settings: Any
) -> pillm.Checkpoint:
    """Write a random model of a transformers class with a tokenizer; the same arguments give the same bytes."""
    import torch
    import transformers

    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    ids = tokenizer.get_vocab()
    encoder = kind.endswith("Model")
    told = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
    if encoder and "[CLS]" not in ids:
        told = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}
    if not encoder:
        told = {"eos_token": "<|im_end|>", **({"bos_token": "<s>", "unk_token": "<unk>"} if "<s>" in ids else {})}
        (folder / "chat_template.jinja").write_text("{{- bos_token -}}" + TEMPLATE if "<s>" in ids else TEMPLATE)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": named, **told}))
    model = getattr(transformers, kind)
    shape = {
        "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "initializer_range": 0.06, "max_position_embeddings": 512,
    }  # fmt: skip
    specials = {
        "bos_token_id": ids.get("<s>"),
        "eos_token_id": ids.get("<|im_end|>"),
        "pad_token_id": ids.get(told.get("pad_token")),
    }
    config = model.config_class(vocab_size=tokenizer.get_vocab_size(), **{**shape, **specials, **settings})
    torch.manual_seed(3)
    made = model(config).float()
    if not encoder:
        made.generation_config = transformers.GenerationConfig(eos_token_id=ids["<|im_end|>"])
    made.save_pretrained(folder)
    return pillm.Checkpoint(path=folder)


GROUPED = {"num_key_value_heads": 2}
GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 16, "num_key_value_heads": 1, "sliding_window": 128}
GRANITE = {"logits_scaling": 2.0, "residual_multiplier": 0.5, "embedding_multiplier": 3.0, "attention_multiplier": 0.2}
PHI = {**GROUPED, "sliding_window": None}
TIED, UNTIED = {"tie_word_embeddings": True}, {"tie_word_embeddings": False}
ODD = {"hidden_size": 72, "num_attention_heads": 9, "num_key_value_heads": 3}
WIDE = {"hidden_size": 256, "intermediate_size": 512}
_llama3 = partial(byte_level, LLAMA3, whole_words=True)
_never, _first = partial(sentence_pieces, "never"), partial(sentence_pieces, "first")
ANIMALS: dict[str, tuple[str, Callable[[], Tokenizer], dict[str, Any]]] = {
    "llama-3": ("LlamaForCausalLM", _llama3, {**GROUPED, **UNTIED}),
    "llama-2": ("LlamaForCausalLM", _first, {"named": "LlamaTokenizer", **UNTIED}),
    "llama-gpt2": ("LlamaForCausalLM", byte_level, {**WIDE, **TIED}),
    "smollm2": ("LlamaForCausalLM", partial(byte_level, digits=True), {**ODD, **TIED}),
    "mistral": ("MistralForCausalLM", partial(sentence_pieces, "always"), {**GROUPED, "sliding_window": None}),
    "qwen2": ("Qwen2ForCausalLM", partial(byte_level, QWEN2), {**GROUPED, **TIED}),
    "qwen3": ("Qwen3ForCausalLM", partial(byte_level, QWEN2), {**GROUPED, **TIED, "head_dim": 32}),
    "smollm3": ("SmolLM3ForCausalLM", _llama3, {**GROUPED, "num_hidden_layers": 4, "no_rope_layer_interval": 4}),
    "gemma2": ("Gemma2ForCausalLM", _never, GEMMA),
    "gemma3": ("Gemma3ForCausalLM", _never, {**GEMMA, "num_hidden_layers": 6}),
    "gemma3-beyond": ("Gemma3ForCausalLM", _never, {**GEMMA, "num_hidden_layers": 6, "beyond": "<image_soft_token>"}),
    "phi3": ("Phi3ForCausalLM", _first, {**PHI, **UNTIED}),
    "phi3-strips": ("Phi3ForCausalLM", partial(sentence_pieces, "first", strips=True), {**PHI, **UNTIED}),
    "strips": ("LlamaForCausalLM", partial(sentence_pieces, "never", strips=True), {**GROUPED, **UNTIED}),
    "phi4": ("Phi3ForCausalLM", partial(byte_level, CL100K), {**PHI, **UNTIED}),
    "granite": ("GraniteForCausalLM", partial(byte_level, digits=True), {**GROUPED, **TIED, **GRANITE}),
    "olmo2": ("Olmo2ForCausalLM", partial(byte_level, LLAMA3), GROUPED),
    "bert": ("BertModel", word_piece, {}),
    "bert-cased": ("BertModel", partial(word_piece, lowercase=False), {"hidden_size": 96, "num_attention_heads": 3}),
    "roberta": ("RobertaModel", byte_level_encoder, {"max_position_embeddings": 514}),
}
"""Name -> transformers class, tokenizer, and the settings that differ."""


def build(name: str, folder: Path) -> pillm.Checkpoint:
    """Write one of them."""
    kind, tokenizer, settings = ANIMALS[name]
    made = write(folder / name, kind, tokenizer(), **{key: value for key, value in settings.items() if key != "beyond"})
    if "beyond" in settings:
        add_beyond(made.path, settings["beyond"])
    return made


def add_beyond(folder: Path, text: str) -> None:
    """Give a model's tokenizer a special token that the embedding has no row for, as Gemma 3's has one for images."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False)])
    tokenizer.save(str(folder / "tokenizer.json"))
