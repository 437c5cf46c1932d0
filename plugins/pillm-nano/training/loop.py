"""The training loop: plain torch, fp32 weights, batches of equal length."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

Encoded = tuple[list[int], int]  # the ids of one conversation, and where its answer begins
WIDTH = 8


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a model; every row of every matrix is a multiple of 256 long."""

    layers: int
    intermediate: int
    hidden: int = 256
    heads: int = 4
    kv_heads: int = 2


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one stage of training depends on, besides its rows."""

    steps: int
    tokens_per_step: int = 2048
    learning_rate: float = 2.5e-3
    warmup_steps: int = 100
    decay_share: float = 0.4
    weight_decay: float = 0.1
    prompt_weight: float = 0.1
    average_decay: float = 0.99
    muon: bool = True
    products: str = "bfloat16"  # what matrices are multiplied in; without bfloat16 in the processor, float32 is faster


def build_model(shape: Shape, vocab_size: int, seed: int) -> LlamaForCausalLM:
    """Build an untrained model."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.hidden // shape.heads,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        pad_token_id=0,
        eos_token_id=2,
        initializer_range=0.04,
        # Requests are short: plain attention is faster here than the fused CPU kernel's backward pass.
        attn_implementation="eager",
    )
    return LlamaForCausalLM(config)


def batches(rows: Iterator[Encoded], tokens: int) -> Iterator[list[Encoded]]:
    """Group rows of one length, in steps of eight: little padding, and few shapes for the CPU kernels to prepare."""
    waiting: defaultdict[int, list[Encoded]] = defaultdict(list)
    for row in rows:
        width = -(-len(row[0]) // WIDTH) * WIDTH
        waiting[width].append(row)
        if len(waiting[width]) == max(1, tokens // width):
            yield waiting.pop(width)


def tensors(batch: list[Encoded], prompt_weight: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ids, targets and weights, padded on the right (causal attention never looks there)."""
    width = -(-max(len(ids) for ids, _ in batch) // WIDTH) * WIDTH
    inputs = torch.zeros(len(batch), width, dtype=torch.long)
    targets = torch.zeros(len(batch), width, dtype=torch.long)
    weights = torch.zeros(len(batch), width)
    for row, (ids, answer) in enumerate(batch):
        inputs[row, : len(ids)] = torch.tensor(ids)
        targets[row, : len(ids) - 1] = torch.tensor(ids[1:])
        weights[row, : answer - 1] = prompt_weight
        weights[row, answer - 1 : len(ids) - 1] = 1.0
    return inputs, targets, weights


def loss_of(model: LlamaForCausalLM, batch: list[Encoded], settings: Settings) -> torch.Tensor:
    """Return the weighted cross-entropy of a batch."""
    inputs, targets, weights = tensors(batch, settings.prompt_weight)
    with torch.autocast("cpu", torch.bfloat16, enabled=settings.products == "bfloat16"):
        logits = model(input_ids=inputs, use_cache=False).logits
    losses = functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    return (losses * weights.flatten()).sum() / weights.sum()


def optimizers(model: LlamaForCausalLM, settings: Settings) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices between embeddings and AdamW for the rest, or AdamW for all."""
    inner = [p for n, p in model.named_parameters() if settings.muon and p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if not settings.muon or p.ndim != 2 or "embed" in n]
    rate, decay = settings.learning_rate, settings.weight_decay
    adamw = torch.optim.AdamW(others, lr=rate, weight_decay=0.0, betas=(0.9, 0.98), fused=True)
    if not inner:
        return [adamw]
    return [torch.optim.Muon(inner, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"), adamw]


def schedule(step: int, settings: Settings) -> float:
    """Return the share of the peak learning rate: up in a line, level, down in a line."""
    left = (settings.steps - step) / (settings.decay_share * settings.steps)
    return min(1.0, step / settings.warmup_steps, left)


def train(model: LlamaForCausalLM, rows: Iterator[Encoded], settings: Settings, name: str) -> dict:
    """Train in place, leave the averaged weights in the model, and return what it took."""
    model.train()
    opts = optimizers(model, settings)
    average = [p.detach().clone() for p in model.parameters()]
    began, seen, tokens, smooth = time.monotonic(), 0, 0, 0.0
    source = batches(rows, settings.tokens_per_step)
    for step, batch in enumerate(source, 1):
        for opt in opts:
            for group in opt.param_groups:
                group["lr"] = settings.learning_rate * schedule(step, settings)
        loss = loss_of(model, batch, settings)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad()
        decay = min(settings.average_decay, step / (step + 10))
        torch._foreach_lerp_(average, [p.detach() for p in model.parameters()], 1 - decay)
        seen, tokens = seen + len(batch), tokens + sum(len(ids) for ids, _ in batch)
        smooth = loss.item() if step == 1 else 0.98 * smooth + 0.02 * loss.item()
        _show(name, step, settings.steps, smooth, tokens, time.monotonic() - began)
        if step >= settings.steps:
            break
    with torch.no_grad():
        for parameter, mean in zip(model.parameters(), average, strict=True):
            parameter.copy_(mean)
    model.eval()
    seconds = round(time.monotonic() - began, 1)
    return {"steps": settings.steps, "rows": seen, "tokens": tokens, "seconds": seconds, "loss": round(smooth, 4)}


def _show(name: str, step: int, steps: int, loss: float, tokens: int, seconds: float) -> None:
    """Show progress on one line of standard error."""
    if step % 25 and step != steps:
        return
    left = seconds / step * (steps - step)
    end = "\r" if sys.stderr.isatty() and step != steps else "\n"
    text = f"{name} {step}/{steps}  loss {loss:.4f}  {tokens / seconds:,.0f} tokens/s  {left:,.0f} s left"
    print(text, end=end, file=sys.stderr, flush=True)
