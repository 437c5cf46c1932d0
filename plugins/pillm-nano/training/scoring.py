"""Greedy answers and their exact match, through the same doors as any user of a model folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from corpus import Row, answer_of
from tokenizer import load_tokenizer
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase


def load(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model folder in fp32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), load_tokenizer(folder)


def answers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], batch: int = 64) -> list[str]:
    """Answer requests greedily, in their order."""
    prompts = [tokenizer.apply_chat_template(row["messages"], tokenize=False, add_generation_prompt=True) for row in rows]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found = [""] * len(prompts)
    for begin in range(0, len(order), batch):
        chosen = order[begin : begin + batch]
        inputs = tokenizer([prompts[i] for i in chosen], return_tensors="pt", padding=True, padding_side="left")
        with torch.no_grad():
            out = model.generate(**inputs, max_new_tokens=160, do_sample=False)
        texts = tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for i, text in zip(chosen, texts, strict=True):
            found[i] = text
    return found


def same(answer: str, reference: str) -> bool:
    """Tell whether two texts are the same JSON value."""
    try:
        return bool(json.loads(answer) == json.loads(reference))
    except ValueError:
        return False


def exact(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]) -> float:
    """Return the share of rows whose greedy answer equals the reference as JSON."""
    found = answers(model, tokenizer, rows)
    right = sum(same(text, answer_of(row)) for text, row in zip(found, rows, strict=True))
    return round(right / len(rows), 4)
