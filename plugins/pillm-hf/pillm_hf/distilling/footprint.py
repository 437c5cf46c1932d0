"""What a teacher in memory takes beside its student, told by its configuration before it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pillm
from pillm_hf.models.hub import Source, adapter_of, base_of, find_here

if TYPE_CHECKING:
    import torch

    from pillm_hf.options.finetuning import FineTuning


def teacher_bytes(options: FineTuning, teacher: pillm.Teacher | None, dtype: torch.dtype) -> int | None:
    """Return the bytes of the teacher's weights that are held through a training, in the student's number format.

    0 where none is held; None where it cannot be told, since the model is not on this machine or cannot be made as shapes.
    """
    distill = options.distill
    if distill is None or distill.ahead:
        return 0
    source = find_here(*distill.model_of(teacher))
    adapter = None if source is None or source.folder is None else adapter_of(source.folder)
    if adapter is not None:  # it is merged: only its base counts
        source = _here(adapter)
    return None if source is None or source.folder is None else _bytes(source.folder, dtype)


def _here(adapter: Path) -> Source | None:
    """Return where an adapter's base lies on this machine, if it does."""
    try:
        source = base_of(adapter)
    except pillm.Unavailable:  # the hub cannot be asked which commit it is
        return None
    return source if source.folder else find_here(source.repository, source.commit)


def _bytes(folder: Path, dtype: torch.dtype) -> int | None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    pillm.check_model_folder(folder)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    except (RuntimeError, NotImplementedError, TypeError, ValueError, OSError):
        return None
    return sum(part.numel() for part in model.parameters()) * torch.empty((), dtype=dtype).element_size()


def said_of(options: FineTuning, held: int | None) -> list[str]:
    """Return what a forecast must say of the teacher: its steps are timed without one."""
    if options.distill is None or not options.distill.needs_model:
        return []
    if options.distill.ahead:
        return ["The teacher is given up before the training: neither its memory nor its time is counted."]
    if held is None:
        return ["The teacher is not counted: its model is not on this machine, or its weights cannot be traced."]
    return [f"The teacher's weights are counted ({held / 2**30:.2g} GiB), the time that it takes is not."]
