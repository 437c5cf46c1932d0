"""A tiny real base and rows with two answers: random weights, a byte-level BPE tokenizer trained here, a ChatML template."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pillm

TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}{{- (message['content'] or '') + '<|im_end|>' -}}{%- endgeneration -%}
{%- else -%}
{{- message['content'] + '<|im_end|>' -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
WORDS = ["fin", "lac", "pont", "neige", "érable", "minuit", "rouge", "onze", "matin", "livre", "train", "chat"]
ROWS = [
    {"id": f"r{number}", "prompt": one, "chosen": f"{two} {one}", "rejected": f"{three} non"}
    for number, (one, two, three) in enumerate(zip(WORDS, WORDS[1:] + WORDS[:1], WORDS[5:] + WORDS[:5], strict=True))
]


def train_tokenizer(folder: Path) -> int:
    """Write a tokenizer into a folder and return the size of its vocabulary."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[AddedToken(text, special=True) for text in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*(text for row in ROWS for text in row.values()), "user assistant system"] * 4, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    # no padding token, and an end of text that is not the end of a turn: what TRL would append, and pad with
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 256,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), "utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    return tokenizer.get_vocab_size()


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a random model folder: two layers, 64 wide."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("base") / "tiny-llama"
    folder.mkdir()
    shape: dict[str, Any] = {
        "vocab_size": train_tokenizer(folder), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "tie_word_embeddings": True,
        "initializer_range": 0.2, "bos_token_id": None, "pad_token_id": None, "eos_token_id": 0,
    }  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**shape)).save_pretrained(folder)
    return folder


@pytest.fixture
def rows(tmp_path: Path) -> Callable[[list[dict[str, Any]]], pillm.Rows]:
    """Return a maker of `Rows` on disk."""
    made = iter(range(1000))

    def write(given: list[dict[str, Any]]) -> pillm.Rows:
        path = tmp_path / f"rows-{next(made)}.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in given), "utf-8")
        return pillm.Rows(path)

    return write


@pytest.fixture
def data(rows: Callable[[list[dict[str, Any]]], pillm.Rows]) -> pillm.TrainingData:
    """Return twelve pairs to learn from and four to watch."""
    train = rows(ROWS)
    probes = tuple(replace(example.prompt, given=None, reference=None) for example in train)
    return pillm.TrainingData(train=train, validation=rows(ROWS[:4]), calibration=rows(ROWS[:3]), probes=probes, seed=3)


@pytest.fixture
def learn(data: pillm.TrainingData) -> Callable[..., tuple[dict[str, Any], list[pillm.Event]]]:
    """Return what trains into a folder, on `data` or other data, and returns training.json and the events."""

    def run(
        trainer: pillm.Trainer, out: Path, on: pillm.TrainingData = data, heard: Callable[[pillm.Event], object] | None = None
    ) -> tuple[dict[str, Any], list[pillm.Event]]:
        seen: list[pillm.Event] = []
        out.mkdir(exist_ok=True)
        trainer.train(on, out, pillm.Progress("train", (seen.append, *([heard] if heard else []))))
        return json.loads((out / "training.json").read_text("utf-8")), seen

    return run


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test here that reached for a hub would fail, not wait."""
    from huggingface_hub import constants

    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # it read the variable when it was imported


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny models gain nothing from a second thread, and the same sums need the same number of them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
