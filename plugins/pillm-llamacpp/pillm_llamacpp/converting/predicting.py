"""What the checkpoint itself computes for the first probes, by transformers: what a file is compared with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PLACES = 64
"""The last ones of each probe: there the answer is."""
MOST_BYTES = 64 * 1024 * 1024
"""Of logits that are kept to compare with."""


def predict(job: dict[str, Any]) -> None:
    """Write the ids of the first probes and how many of their last places have logits, and the logits, in 32 bit.

    Of an encoder: the texts' embeddings, the means over their tokens, of length 1.
    """
    with Path(job["encoded"]).open(encoding="utf-8") as file:
        rows = [json.loads(line) for _, line in zip(range(job["rows"]), file, strict=False)]
    rows = [{"text": row["text"], "ids": row["ids"][: job["tokens"]]} for row in rows if row["ids"]]
    if job["encoder"]:
        rows = [row for row in rows if len(row["ids"]) < job["tokens"]]
    found = _embeddings(job, rows) if job["encoder"] else _logits(job, rows)
    with Path(job["predicted"]).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in found)


def _loaded(job: dict[str, Any], kind: str) -> Any:
    import torch
    import transformers

    stored = job["precision"] == "stored"
    dtype = "auto" if stored else torch.float32  # 16-bit sums would break ties at random
    # the other ways of attending leave out what some models do to the scores (Gemma 2 caps them)
    options = {"dtype": dtype, "local_files_only": True, "attn_implementation": "eager"}
    model = getattr(transformers, kind).from_pretrained(job["model"], **options).eval()
    return layer_by_layer(model) if stored else model


def layer_by_layer(model: Any) -> Any:
    """Let a model compute in 32 bit while it holds its weights as they are stored: each layer widens its own as it is used."""
    import torch

    def widen(module: Any, _: Any) -> None:
        module.kept_weights = {name: weight for name, weight in module._parameters.items() if weight is not None}
        for name, weight in module.kept_weights.items():
            module._parameters[name] = torch.nn.Parameter(weight.float(), requires_grad=False)

    def give_back(module: Any, *_: Any) -> None:
        module._parameters.update(module.__dict__.pop("kept_weights"))

    short = (torch.bfloat16, torch.float16)
    for module in model.modules():
        if any(weight is not None and weight.dtype in short for weight in module._parameters.values()):
            module.register_forward_pre_hook(widen)
            module.register_forward_hook(give_back, always_call=True)
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.dtype in short:
                module._buffers[name] = buffer.float()
    return model


def _logits(job: dict[str, Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    import torch

    model = _loaded(job, "AutoModelForCausalLM")
    if job["adapter"]:
        from peft import PeftModel

        # unmerged: what the merged file is compared with must not be merged by the same arithmetic
        model = PeftModel.from_pretrained(model, job["adapter"]).eval()
    room = 0
    with Path(job["reference"]).open("wb") as file, torch.inference_mode():
        for row in rows:
            logits = model(input_ids=torch.tensor([row["ids"]]), use_cache=False).logits[0]
            room = room or max(1, min(PLACES, MOST_BYTES // (4 * logits.shape[-1] * len(rows))))
            kept = logits[-room:].float().numpy()
            kept.astype("<f4").tofile(file)
            row["places"], row["width"] = len(kept), kept.shape[1]
    return rows


def _embeddings(job: dict[str, Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    import torch

    model = _loaded(job, "AutoModel")
    with Path(job["reference"]).open("wb") as file, torch.inference_mode():
        for row in rows:
            mean = model(input_ids=torch.tensor([row["ids"]])).last_hidden_state[0].float().mean(0)
            unit = mean / mean.norm().clamp_min(1e-12)
            unit.numpy().astype("<f4").tofile(file)
            row["places"], row["width"] = 1, unit.shape[0]
    return rows
