"""Validation while a student is trained: how well it foretells rows that it does not learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pillm_hf.losses.batches import collate
from pillm_hf.losses.head import Head, scored
from pillm_hf.rows.text import Encoded
from pillm_hf.training.processes import ALONE, Processes
from pillm_hf.training.trainlog import Log

if TYPE_CHECKING:
    from pillm_hf.models.precision import Warn
    from pillm_hf.options.finetuning import FineTuning


def warn_of_idle(options: FineTuning, rows: Sequence[Encoded], warn: Warn) -> None:
    """Warn of options that were given and count at validations alone, where there are no rows to validate on."""
    names = () if rows else ("eval_steps", "early_stopping_patience")
    given = [f"{name}={value}" for name in names if (value := getattr(options, name)) is not None]
    if given:
        warn(
            f"{' and '.join(given)}: without validation rows nothing is validated and no training stops early. Give some rows "
            "the split validation, or leave this out."
        )


def validate(
    model: Any, head: Head | None, rows: Sequence[Encoded], pad_id: int, batch_size: int, processes: Processes = ALONE
) -> dict[str, float]:
    """Return the mean loss per answer token in nats, and the share of answer tokens that the model ranks first."""
    import torch

    ordered = sorted(rows, key=lambda row: len(row.ids))
    loss, right, tokens = 0.0, 0.0, sum(row.end - row.start for row in ordered)
    model.eval()
    with torch.no_grad():
        for part in processes.share([list(ordered[at : at + batch_size]) for at in range(0, len(ordered), batch_size)]):
            summed, hits = scored(model, head, collate(part.rows, pad_id))
            loss, right = loss + summed * part.counts, right + hits * part.counts
    model.train()
    loss, right = processes.sum(loss, right)
    return {"validation_loss": loss / tokens, "validation_accuracy": right / tokens}


def is_best(log: Log, loss: float) -> bool:
    """Count a validation, and say whether it is the best so far."""
    better = log.best is None or loss < log.best["loss"]
    log.stale = 0 if better else log.stale + 1
    if better:
        log.best = {"step": log.steps, "loss": loss}
    return better
