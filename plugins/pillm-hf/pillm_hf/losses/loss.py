"""The loss: cross-entropy of the answer's tokens or what a lesson says of them, and logits only where they are needed."""

from __future__ import annotations

from functools import cache, lru_cache
from inspect import signature
from typing import TYPE_CHECKING, Any

from pillm_hf.losses.batches import IGNORED, Batch

if TYPE_CHECKING:
    import torch


def kept_logits(model: Any, batch: Batch) -> torch.Tensor:
    """Return the logits [rows, kept, vocabulary] at a batch's learnt columns."""
    columns = batch.columns.to(model.device)
    takes_columns = _takes_columns(type(inner_of(model)))
    more = {"logits_to_keep": columns} if takes_columns else {}
    logits = model(input_ids=batch.ids.to(model.device), use_cache=False, **more).logits
    return logits if takes_columns else logits[:, columns]


def summed_loss(model: Any, batch: Batch) -> torch.Tensor:
    """Return the loss summed over a batch's answer tokens, in nats: the labels' cross-entropy, or what its lesson says."""
    from torch.nn.functional import cross_entropy

    logits, labels = kept_logits(model, batch), batch.labels.to(model.device)
    learnt = labels != IGNORED
    if batch.lesson is not None:
        told: torch.Tensor = _lesson().apply(logits[learnt].float(), labels[learnt], batch.lesson)
        return told
    return cross_entropy(logits[learnt].float(), labels[learnt], reduction="sum")


@cache
def _lesson() -> Any:
    """Return the function whose gradient a lesson makes with the value; it is made once torch is there."""
    import torch

    class Learnt(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, logits: Any, labels: Any, lesson: Any) -> Any:
            ctx.gradient = logits.clone()
            with torch.no_grad(), torch.autocast(logits.device.type, enabled=False):
                lesson.open(0, len(logits))
                return lesson.learn(ctx.gradient, labels, 0, ctx.needs_input_grad[0])

        @staticmethod
        def backward(ctx: Any, scale: Any) -> Any:
            gradient, ctx.gradient = ctx.gradient, None
            return gradient.mul_(scale), None, None

    return Learnt


def inner_of(model: Any) -> Any:
    """Return the model inside its adapters."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@lru_cache(maxsize=16)
def _takes_columns(kind: type) -> bool:
    return "logits_to_keep" in signature(kind.forward).parameters  # type: ignore[attr-defined]
