"""The gate of finite weights: one number that is none makes every answer nonsense."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pillm

if TYPE_CHECKING:
    from pathlib import Path

    from pillm_llamacpp.workers.client import Worker

_NAMED = 5


def check_finite(worker: Worker, path: Path) -> None:
    """Raise DataError, naming the tensors, where a file in full precision holds NaN or infinite weights."""
    found = worker.ask(op="unfinite", path=str(path))["tensors"]
    if not found:
        return
    named = ", ".join(f"{one['name']} ({_counts(one)})" for one in found[:_NAMED])
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    infinite_alone = not any(one["nan"] for one in found) and "-F16" in path.name
    remedy = (
        "If the checkpoint's own weights are finite, they are larger than 16-bit floats reach (65,504): add BF16 to `quants`, "
        "so that the files are made of 32-bit weights. Else train again with a lower learning rate."
        if infinite_alone
        else "The checkpoint itself holds them: train again with a lower learning rate or in another precision."
    )
    raise pillm.DataError(
        f"weights: {len(found)} tensors hold what is no finite number: {named}{more}. No GGUF was left. {remedy}"
    )


def _counts(tensor: dict[str, int]) -> str:
    told = {"nan": "NaN", "infinite": "infinite"}
    return ", ".join(f"{tensor[name]} {word}" for name, word in told.items() if tensor[name])
