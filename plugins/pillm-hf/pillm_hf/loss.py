"""The loss: cross-entropy of the answer's tokens, and logits only where they are needed."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

from pillm_hf.batches import IGNORED, Batch

if TYPE_CHECKING:
    import torch


def kept_logits(model: Any, batch: Batch) -> torch.Tensor:
    """Return the logits [rows, kept, vocabulary] at a batch's learnt columns."""
    device = model.device
    columns = batch.columns.to(device)
    mask = batch.mask.to(device) if batch.mask is not None else None
    takes_columns = _takes_columns(model)
    more = {"logits_to_keep": columns} if takes_columns else {}
    logits = model(input_ids=batch.ids.to(device), attention_mask=mask, use_cache=False, **more).logits
    return logits if takes_columns else logits[:, columns]


def summed_loss(model: Any, batch: Batch) -> torch.Tensor:
    """Return the cross-entropy summed over a batch's answer tokens, in nats."""
    from torch.nn.functional import cross_entropy

    logits = kept_logits(model, batch)
    labels = batch.labels.to(logits.device)
    learnt = labels != IGNORED
    return cross_entropy(logits[learnt].float(), labels[learnt], reduction="sum")


def _takes_columns(model: Any) -> bool:
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in signature(inner.forward).parameters
