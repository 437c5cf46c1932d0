"""What the checkpoint itself computes for the first probes, by transformers: what a file is compared with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FITS_IN_32_BIT = 4_000_000_000
"""Bytes of weights up to which they are widened: 16-bit sums break ties at random."""
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

    weights = sum(path.stat().st_size for path in Path(job["model"]).glob("*.safetensors"))
    dtype = torch.float32 if weights < FITS_IN_32_BIT else "auto"
    # the other ways of attending leave out what some models do to the scores (Gemma 2 caps them)
    options = {"dtype": dtype, "local_files_only": True, "attn_implementation": "eager"}
    return getattr(transformers, kind).from_pretrained(job["model"], **options).eval()


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
