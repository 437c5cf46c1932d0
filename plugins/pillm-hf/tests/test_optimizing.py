"""AdamW: what weight decay falls on, and at what rate each group learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pillm_hf import DoRA, Full
from pillm_hf.models.loading import load_model
from pillm_hf.training.optimizing import Optimizer
from pillm_hf.training.students import with_adapters


def decayed(model: Any, options: Any) -> dict[str, float]:
    """Return how much smaller each weight becomes in a step without gradients; no weight may be zero."""
    optimizer = Optimizer(model, options, torch.float32)
    with torch.no_grad():
        for part in optimizer.learnt.values():
            part.fill_(1.0)
            part.grad = torch.zeros_like(part)
    optimizer.step()
    left = {name: float(part.detach().flatten()[0]) for name, part in optimizer.learnt.items()}
    assert set(optimizer.memory()) == {f"{what}:{name}" for what in ("step", "exp_avg", "exp_avg_sq") for name in left}
    return {name: pytest.approx(1 - value, abs=1e-6) for name, value in left.items()}


@pytest.mark.parametrize("embedding_rate", [None, 0.2])
def test_weight_decay_spares_norms_and_biases(qwen: Path, embedding_rate: float | None) -> None:
    options = Full(base=str(qwen), learning_rate=0.1, weight_decay=0.5, embedding_learning_rate=embedding_rate)
    found = decayed(load_model(qwen, torch.float32), options)
    spared = {name for name in found if name.endswith("norm.weight") or name.endswith("bias")}
    tables = {name for name in found if "embed_tokens" in name or "lm_head" in name}
    assert len(spared) == 2 * (2 + 3) + 1
    assert {name: found[name] for name in spared} == dict.fromkeys(spared, 0.0)
    assert {name: found[name] for name in tables} == dict.fromkeys(tables, 0.5 * (embedding_rate or 0.1))
    others = set(found) - spared - tables
    assert {name: found[name] for name in others} == dict.fromkeys(others, 0.05)


def test_weight_decay_spares_the_magnitudes_of_adapters(base: Path) -> None:
    options = DoRA(base=str(base), learning_rate=0.1, weight_decay=0.5)
    found = decayed(with_adapters(load_model(base, torch.float32), options, base), options)
    assert {"magnitude" in name: found[name] for name in found} == {True: 0.0, False: 0.05}
