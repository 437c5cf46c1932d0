"""Attention that keeps no weights for its backward pass, but makes them again, some rows at a time.

The weights of plain attention grow with the square of a row's length, and to keep them takes most of a long row's memory. Fused
kernels do not keep them either, but are slow on a CPU; here both passes are a few large products of matrices.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

NAME = "pillm_recomputed"
"""What transformers calls it."""
_BYTES = 16 * 2**20
"""Weights at a time: few enough for the processor's caches, and many small rows in one product."""


def use(model: Any) -> None:
    """Let a model attend in this way, where it has attention of the plain kind."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if serves(model):
        AttentionInterface.register(NAME, attend)
        AttentionMaskInterface.register(NAME, sdpa_mask)  # none where each place sees all to its left
        model.set_attn_implementation(NAME)


def serves(model: Any) -> bool:
    """Say whether a model's attention is of the plain kind: weights are neither dropped, capped, nor shared with sinks."""
    config = model.config.get_text_config()
    unlike = ("attn_logit_softcapping", "attention_chunk_size", "kv_lora_rank")
    dropped = getattr(config, "attention_dropout", 0.0) or 0.0
    sinks = any(name.endswith("sinks") for name, _ in model.named_parameters())
    return dropped == 0 and not sinks and not any(getattr(config, name, None) for name in unlike) and model._supports_sdpa


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Return what the heads read [rows, length, heads, width]; queries are [rows, heads, length, width].

    Keys and values have one head for each group of heads. Without a mask each place sees itself and what is to its left.
    """
    import torch

    kind = query.device.type
    mixed = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)  # a planned student is on `meta`
    dtype = torch.get_autocast_dtype(kind) if mixed else query.dtype
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    sides = (side.to(dtype) for side in (query, key, value))
    read = _function().apply(*sides, attention_mask, scale)
    return read.transpose(1, 2), None


def _bias(mask: torch.Tensor | None, query: torch.Tensor, length: int) -> torch.Tensor:
    """Return what is added to a product before its softmax: [rows or 1, places, length], very little at what is not seen."""
    import torch

    places, least = query.shape[-2], torch.finfo(query.dtype).min / 2  # minus infinity is no number where nothing is seen
    if mask is None:
        hidden = torch.ones((places, length), dtype=torch.bool, device=query.device).triu(length - places + 1)
        return torch.zeros((1, places, length), dtype=query.dtype, device=query.device).masked_fill_(hidden, least)
    mask = mask[:, 0, :, :length]
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape, dtype=query.dtype, device=query.device).masked_fill_(~mask, least)
    return mask.to(query.dtype)


def _weights(query: torch.Tensor, key: torch.Tensor, bias: torch.Tensor, scale: float) -> torch.Tensor:
    """Return attention weights [rows x groups, heads of a group x places, length] in float32; a bias is of one row or all."""
    import torch

    tiled = bias.repeat(1, query.shape[1] // bias.shape[1], 1)
    tiled = tiled.repeat_interleave(len(query) // len(tiled), 0) if len(tiled) > 1 else tiled.expand(len(query), -1, -1)
    scores = torch.baddbmm(tiled, query, key.transpose(1, 2), alpha=scale)
    return torch.softmax(scores, -1, dtype=torch.float32)


def _grouped(heads: torch.Tensor, groups: int) -> torch.Tensor:
    """Return heads [rows, heads, places, width] as [rows x groups, heads of a group x places, width]."""
    return heads.reshape(len(heads) * groups, -1, heads.shape[-1])


def _pieces(query: torch.Tensor, length: int) -> Iterator[slice]:
    """Yield rows whose weights are held at a time."""
    rows = max(1, _BYTES // (4 * query.shape[1] * query.shape[2] * length))
    for begin in range(0, len(query), rows):
        yield slice(begin, begin + rows)


@cache
def _function() -> Any:
    import torch

    class Attention(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, query: Any, key: Any, value: Any, mask: Any, scale: float) -> Any:
            ctx.save_for_backward(query, key, value, mask)
            ctx.scale = scale
            read, groups = torch.empty_like(query, memory_format=torch.contiguous_format), key.shape[1]
            bias = _bias(mask, query, key.shape[2])
            for rows in _pieces(query, key.shape[2]):
                seen = _grouped(key[rows], groups)
                weights = _weights(_grouped(query[rows], groups), seen, bias[rows] if len(bias) > 1 else bias, scale)
                torch.bmm(weights.to(value.dtype), _grouped(value[rows], groups), out=_grouped(read[rows], groups))
            return read

        @staticmethod
        def backward(ctx: Any, wanted: Any) -> Any:  # type: ignore[override]
            query, key, value, mask = ctx.saved_tensors
            groups, bias = key.shape[1], _bias(mask, query, key.shape[2])
            plain = torch.contiguous_format
            of_query, of_key, of_value = (torch.empty_like(side, memory_format=plain) for side in (query, key, value))
            for rows in _pieces(query, key.shape[2]):
                asked, seen, grad = (_grouped(side[rows], groups) for side in (query, key, wanted))
                weights = _weights(asked, seen, bias[rows] if len(bias) > 1 else bias, ctx.scale)
                torch.bmm(weights.to(value.dtype).transpose(1, 2), grad, out=_grouped(of_value[rows], groups))
                of_weights = torch.bmm(grad, _grouped(value[rows], groups).transpose(1, 2)).float()
                of_scores = torch.ops.aten._softmax_backward_data(of_weights, weights, -1, torch.float32)
                of_scores = of_scores.mul_(ctx.scale).to(query.dtype)
                torch.bmm(of_scores, seen, out=_grouped(of_query[rows], groups))
                torch.bmm(of_scores.transpose(1, 2), asked, out=_grouped(of_key[rows], groups))
            return of_query, of_key, of_value, None, None

    return Attention
