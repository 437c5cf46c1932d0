"""A tiny random Llama with a freshly trained tokenizer, as a trainer would leave it; made without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import pillm

SPECIALS = {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
SENTENCES = (
    "Bonjour, peux-tu allumer la lumière de la cuisine à 11h45?",
    "Please turn on the kitchen light at 7 pm.",
    "Où est l'épicerie la plus proche, s'il te plaît?",
    "J'ai 2 œufs et 😀 12 345 raisons.",
)
TEMPLATE = (
    "{%- for message in messages -%}{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['role'] == 'assistant' -%}{%- generation -%}{{- message['content'] + '<|im_end|>' -}}{%- endgeneration -%}"
    "{%- else -%}{{- message['content'] + '<|im_end|>' -}}{%- endif -%}{{- '\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def train_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(SPECIALS), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES * 20, trainer)
    return tokenizer


def render(messages: list[dict[str, str]]) -> str:
    return "".join(f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in messages)


def write_model(
    folder: Path, *, hidden: int = 256, probes: bool = True, layers: int = 2, head: int | None = None
) -> pillm.Checkpoint:
    """Write a model folder; the same arguments give the same bytes. `head` is the width of one of its 4 heads."""
    head = head or hidden // 4
    folder.mkdir(parents=True)
    tokenizer = train_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "config.json").write_text(json.dumps(_config(tokenizer.get_vocab_size(), hidden, layers, head)))
    save_file(_weights(tokenizer.get_vocab_size(), hidden, layers, head), str(folder / "model.safetensors"), {"format": "pt"})
    if probes:
        contract = pillm.Contract().with_student(template=TEMPLATE, special_tokens=SPECIALS, stop_tokens=("<|im_end|>",))
        contract.save(folder / "contract.json")
        rows = [_probe(tokenizer, number, sentence) for number, sentence in enumerate(SENTENCES)]
        (folder / "probes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return pillm.Checkpoint(path=folder)


def _probe(tokenizer: Tokenizer, number: int, sentence: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": sentence}, {"role": "assistant", "content": '{"ok": true}'}]
    text = render(messages)
    return {"id": f"row-{number}", "messages": messages, "text": text, "ids": tokenizer.encode(text).ids}


def _config(vocabulary: int, hidden: int, layers: int, head: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocabulary, "hidden_size": hidden,
        "intermediate_size": hidden, "num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": head, "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
        "bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0, "hidden_act": "silu", "torch_dtype": "float32",
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }  # fmt: skip


def _weights(vocabulary: int, hidden: int, layers: int, head: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return (random.standard_normal((rows, columns)) * 0.08).astype(np.float32)

    ones = np.ones(hidden, np.float32)
    found = {"model.embed_tokens.weight": matrix(vocabulary, hidden) * 4, "model.norm.weight": ones}
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        found[f"{prefix}input_layernorm.weight"] = found[f"{prefix}post_attention_layernorm.weight"] = ones.copy()
        for name, rows in {"q": 4 * head, "k": 2 * head, "v": 2 * head}.items():
            found[f"{prefix}self_attn.{name}_proj.weight"] = matrix(rows, hidden)
        found[f"{prefix}self_attn.o_proj.weight"] = matrix(hidden, 4 * head)
        for name in ("gate", "up", "down"):
            found[f"{prefix}mlp.{name}_proj.weight"] = matrix(hidden, hidden)
    return found


def swap_a_merge(folder: Path) -> None:
    """Exchange two merges of tokenizer.json so that a probe gets other ids; no other file changes."""
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text())
    merges = document["model"]["merges"]
    before = [Tokenizer.from_str(json.dumps(document)).encode(sentence).ids for sentence in SENTENCES]
    for index in range(len(merges) // 2):
        merges[index], merges[-1 - index] = merges[-1 - index], merges[index]
        changed = json.dumps(document)
        if [Tokenizer.from_str(changed).encode(sentence).ids for sentence in SENTENCES] != before:
            path.write_text(changed)
            return
        merges[index], merges[-1 - index] = merges[-1 - index], merges[index]
    raise AssertionError("no swap of two merges changes a probe")


def request(text: str = "Bonjour", number: int = 0, **prompt: object) -> pillm.Request:
    """Return one question."""
    messages = ({"role": "user", "content": text},)
    made = pillm.Prompt(id=f"row-{number}", messages=messages, **prompt)
    return pillm.Request(key=f"key-{number}-{text}", prompt=made, messages=messages)


def answers(runner: pillm.Runner, model: pillm.ModelFile, requests: list[pillm.Request]) -> list[pillm.Answer | pillm.Failure]:
    """Return what a runner says to requests, in their order."""
    with runner.open(model) as session:
        said = {asked.key: result for asked, result in session.answer(iter(requests))}
    return [said[one.key] for one in requests]


def conversations(count: int = 24) -> list[str]:
    """Return rendered conversations that differ."""
    words = ("cuisine", "kitchen", "salon", "garage", "porch", "lumière", "12 345", "œufs")
    return [
        render([
            {"role": "user", "content": f"{SENTENCES[number % 4]} {words[number % 8]} {number}"},
            {"role": "assistant", "content": json.dumps({"room": words[(number * 3) % 8], "n": number}, ensure_ascii=False)},
        ])
        for number in range(count)
    ]  # fmt: skip


def write_calibration(folder: Path, *, validation: int = 8) -> None:
    """Write the conversations that a trainer would keep for measuring quantisations; the last ones are for validation."""
    texts = conversations()
    sides = ["calibration"] * (len(texts) - validation) + ["validation"] * validation
    rows = ({"text": text, "split": side} for text, side in zip(texts, sides, strict=True))
    (folder / "calibration.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
