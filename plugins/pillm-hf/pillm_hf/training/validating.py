"""Validation while a student is trained: how well it foretells rows that it does not learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pillm_hf.rows.text import Encoded
from pillm_hf.training.batches import collate
from pillm_hf.training.head import Head, scored
from pillm_hf.training.trainlog import Log


def validate(model: Any, head: Head | None, rows: Sequence[Encoded], pad_id: int, batch_size: int) -> dict[str, float]:
    """Return the mean loss per answer token in nats, and the share of answer tokens that the model ranks first."""
    import torch

    ordered = sorted(rows, key=lambda row: len(row.ids))
    loss, right, tokens = 0.0, 0, 0
    model.eval()
    with torch.no_grad():
        for begin in range(0, len(ordered), batch_size):
            batch = collate(ordered[begin : begin + batch_size], pad_id)
            summed, hits = scored(model, head, batch)
            loss, right, tokens = loss + summed, right + hits, tokens + batch.answer_tokens
    model.train()
    return {"validation_loss": loss / tokens, "validation_accuracy": right / tokens}


def is_best(log: Log, loss: float) -> bool:
    """Count a validation, and say whether it is the best so far."""
    better = log.best is None or loss < log.best["loss"]
    log.stale = 0 if better else log.stale + 1
    if better:
        log.best = {"step": log.steps, "loss": loss}
    return better
