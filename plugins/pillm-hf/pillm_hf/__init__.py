"""pillm on torch and transformers: the teacher and runner `hf`, the trainers `lora`, `dora`, `qlora` and `full`.

It also reads data sets of the hub as tables: `hf://owner/name?split=train[:2000]`.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pillm
from pillm_hf.runner import HFRunner
from pillm_hf.tables.reading import read_hub_table
from pillm_hf.teacher import HFTeacher
from pillm_hf.trainers.full import Full
from pillm_hf.trainers.lora import DoRA, LoRA, QLoRA

__all__ = ["DoRA", "Full", "HFRunner", "HFTeacher", "LoRA", "QLoRA"]

# Read once, when torch is loaded. A thread that waits by spinning takes the core from the thread that it waits for as soon as
# anything else runs on the machine: a second busy program made work of two threads ten to a hundred times slower, not twice.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


@pillm.hookimpl
def pillm_teachers() -> list[type[pillm.Teacher]]:
    """Return the teacher `hf`."""
    return [HFTeacher]


@pillm.hookimpl
def pillm_runners() -> list[type[pillm.Runner]]:
    """Return the runner `hf`."""
    return [HFRunner]


@pillm.hookimpl
def pillm_trainers() -> list[type[pillm.Trainer]]:
    """Return the trainers `lora`, `dora`, `qlora` and `full`."""
    return [LoRA, DoRA, QLoRA, Full]


@pillm.hookimpl
def pillm_tables() -> dict[str, Callable[[str], pillm.Table]]:
    """Return the reader of `hf://` addresses."""
    return {"hf": read_hub_table}
