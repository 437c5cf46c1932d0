"""Distillations of tiny students, for the tests of more than one module."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from pillm_hf.models.loading import load_model
from pillm_hf.rows.opening import load_chat
from pillm_hf.trainers.job import train

import pillm

K = 6


FAST = {
    "num_train_epochs": 2, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "learning_rate": 5e-3,
    "logging_steps": 1, "save_steps": 2, "dtype": "float32",
}  # fmt: skip


SOURCES: dict[str, dict[str, Any]] = {
    "labels": {"source": "labels"},
    "teacher": {"source": "teacher"},
    "ahead": {"source": "teacher", "k": 4},
    "draws": {"source": "teacher", "k": 2, "draws": 6},
    "student": {"source": "student", "max_new_tokens": 6},
}


def widened(folder: Path, out: Path, columns: int) -> Path:
    """Return a copy of a model whose vocabulary is padded to so many columns."""
    model = load_model(folder, torch.float32)
    model.resize_token_embeddings(columns, mean_resizing=False)
    model.save_pretrained(out)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (out / name).write_bytes((folder / name).read_bytes())
    return out


def stored(folder: Path, pairs: list[tuple[str, str]]) -> list[pillm.Example]:
    """Return rows with what a teacher would have said at each token of the given answers, noted by `k` alternatives."""
    chat, model = load_chat(folder), load_model(folder, torch.float32)
    made = []
    for number, (ask, said) in enumerate(pairs):
        prompt = pillm.Prompt(id=f"r{number}", messages=({"role": "user", "content": ask},))
        asked = chat.encode([chat.prompt(prompt.messages)])[0]
        ids = (*chat.encode([said])[0], chat.end_of_turn.id)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*asked, *ids]])).logits[0, len(asked) - 1 : -1]
        best = logits[:, :320].log_softmax(-1).topk(K)
        places = tuple(tuple(zip(*each, strict=True)) for each in zip(best.indices.tolist(), best.values.tolist(), strict=True))
        answer = pillm.Answer(said, token_ids=ids, logprobs=places, tokenizer_hash=chat.tokenizer_hash)
        made.append(pillm.Example(prompt=prompt, answer=answer))
    return made


def options(kind: str, **more: Any) -> dict[str, Any]:
    return {**FAST, "distill": {**SOURCES[kind], **more}}


def run(trainer: pillm.Trainer, data: pillm.TrainingData, out: Path) -> tuple[dict[str, Any], list[str]]:
    seen: list[pillm.Event] = []
    out.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    train(trainer, data, out, pillm.Progress("train", (seen.append,)))  # type: ignore[arg-type]
    return json.loads((out / "training.json").read_text("utf-8")), [event.message for event in seen if event.message]
