"""What one of several processes holds of a student, and what memory it may count on: arithmetic, before any is started."""

from __future__ import annotations

from typing import Any

from pillm_hf.options.finetuning import FineTuning
from pillm_hf.options.lora import LoRAOptions


def parts(options: FineTuning) -> int:
    """Return over how many processes the weights and all that is learnt are parted; 1 where each holds them whole."""
    launcher = options.launcher
    whole = launcher is None or not (launcher.strategy == "fsdp2" or launcher.zero_stage == 3)
    return 1 if whole or launcher is None else launcher.processes


def splits_head(options: FineTuning) -> bool:
    """Return whether the processes take the output layer off the model: ZeRO stage 3 does not."""
    return options.launcher is None or options.launcher.zero_stage != 3


def share(options: FineTuning, free: int | None, device: str) -> int | None:
    """Return the free bytes that one process may count on: those of a CPU are for all on the machine."""
    if free is None or options.launcher is None or device != "cpu":
        return free
    return free // options.launcher.here


def held_by_one(options: FineTuning, held: int, model: Any, layers: int, half: int) -> int:
    """Return what one process holds of `held` bytes: its part, and the table, the head and one layer whole.

    What is gathered takes the format of the products, and float32 beside it where all weights are learnt.
    """
    count = parts(options)
    if count == 1:
        return held
    tables = {id(part): part.numel() for part in (model.get_input_embeddings().weight, *_head(model))}
    table, weights = sum(tables.values()), sum(part.numel() for part in model.parameters())
    learnt = sum(part.numel() for part in model.parameters() if part.requires_grad)
    more = 4 * learnt if not splits_head(options) else 0  # DeepSpeed keeps the gradients twice
    each = half if isinstance(options, LoRAOptions) or half == 4 else 4 + half
    return (held + more) // count + (table + (weights - table) // layers) * each


def _head(model: Any) -> list[Any]:
    layer = model.get_output_embeddings()
    return [] if layer is None else [layer.weight]


def said_of(options: FineTuning) -> list[str]:
    """Return what a forecast must say of several processes."""
    if options.launcher is None or options.launcher.processes == 1:
        return []
    return [f"Memory is that of each of {options.launcher.processes} processes, time that of one alone."]
