"""Growing a model: more layers, wider ones or none of both, with the same answers until it learns more."""

from __future__ import annotations

import torch
from loop import Shape, build_model
from transformers import LlamaForCausalLM

SPREAD = {0: 0, 1: 1, 2: 3, 3: 4}  # where each layer of a model of four goes in one of six; the others are new
SILENT = ("self_attn.o_proj.weight", "mlp.down_proj.weight")  # what a layer says goes through these


def grow(small: LlamaForCausalLM, shape: Shape, seed: int) -> LlamaForCausalLM:
    """Build a larger model that starts by computing exactly what the small one computes."""
    big = build_model(shape, small.config.vocab_size, seed)
    same_depth = shape.layers == small.config.num_hidden_layers
    spread = {layer: layer for layer in range(shape.layers)} if same_depth else SPREAD
    old, new = small.float().state_dict(), big.state_dict()
    with torch.no_grad():
        for name, weight in new.items():
            if not name.startswith("model.layers."):
                weight.copy_(old[name])
                continue
            layer, part = name.removeprefix("model.layers.").split(".", 1)
            source = [before for before, after in spread.items() if after == int(layer)]
            if source:
                _widen(weight, old[f"model.layers.{source[0]}.{part}"], part)
            elif part in SILENT:
                weight.zero_()
    return big


def _widen(weight: torch.Tensor, old: torch.Tensor, part: str) -> None:
    """Copy a matrix into a larger one, whose new hidden units nothing listens to yet."""
    if part in SILENT:
        weight.zero_()
    weight[tuple(slice(size) for size in old.shape)].copy_(old)


def renew_unread(model: LlamaForCausalLM, read: set[int], seed: int) -> None:
    """Put the embeddings of tokens that were not read among those of the others, each at a place of its own.

    Tied to the output, they were pushed into one far corner, from where a few steps of training cannot fetch them.
    """
    embeddings = model.get_input_embeddings().weight.data
    rest = sorted(set(range(len(embeddings))) - read)
    known = embeddings[sorted(read)]
    noise = torch.randn(len(rest), known.shape[1], generator=torch.Generator().manual_seed(seed))
    embeddings[rest] = known.mean(0) + known.std(0) * noise / 2
