"""pillm on torch and transformers: the teacher and runner `hf`, the trainers `lora`, `dora`, `qlora` and `full`.

It also reads data sets of the hub as tables: `hf://owner/name?split=train[:2000]`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pillm
from pillm_hf.runner import HFRunner
from pillm_hf.tables.reading import read_hub_table
from pillm_hf.teacher import HFTeacher
from pillm_hf.trainers.full import Full
from pillm_hf.trainers.lora import DoRA, LoRA, QLoRA

if TYPE_CHECKING:
    from pillm_hf.fields import DTYPE as DTYPE
    from pillm_hf.fields import NOT_IN_KEY as NOT_IN_KEY
    from pillm_hf.fields import REVISION as REVISION
    from pillm_hf.models.hub import Source as Source
    from pillm_hf.models.hub import adapter_of as adapter_of
    from pillm_hf.models.hub import describe as describe
    from pillm_hf.models.hub import find_here as find_here
    from pillm_hf.models.hub import locate as locate
    from pillm_hf.models.hub import require_model as require_model
    from pillm_hf.models.loading import load_model as load_model
    from pillm_hf.models.loading import quiet as quiet
    from pillm_hf.models.memory import most_bytes as most_bytes
    from pillm_hf.models.memory import told as told
    from pillm_hf.models.precision import DType as DType
    from pillm_hf.models.precision import default_device as default_device
    from pillm_hf.models.quantizing import import_bitsandbytes as import_bitsandbytes
    from pillm_hf.options.finetuning import Scheduler as Scheduler
    from pillm_hf.rows import prompts as prompts
    from pillm_hf.rows.chat import Chat as Chat
    from pillm_hf.rows.opening import load_chat as load_chat
    from pillm_hf.rows.text import Encoded as Encoded
    from pillm_hf.rows.text import Encoding as Encoding
    from pillm_hf.rows.text import encode as encode
    from pillm_hf.rows.text import prompts_of as prompts_of
    from pillm_hf.training import outputs as outputs
    from pillm_hf.training import students as students
    from pillm_hf.training.checkpoints import FOLDER as FOLDER
    from pillm_hf.training.fitting import UNROUNDED as UNROUNDED
    from pillm_hf.training.saving import Pace as Pace
    from pillm_hf.training.students import SAMPLES as SAMPLES
    from pillm_hf.training.students import rounded as rounded
    from pillm_hf.training.trainlog import Log as Log

_HOMES = {
    "fields": "DTYPE NOT_IN_KEY REVISION",
    "models.hub": "Source adapter_of describe find_here locate require_model",
    "models.loading": "load_model quiet",
    "models.memory": "most_bytes told",
    "models.precision": "DType default_device",
    "models.quantizing": "import_bitsandbytes",
    "options.finetuning": "Scheduler",
    "rows": "prompts",
    "rows.chat": "Chat",
    "rows.opening": "load_chat",
    "rows.text": "Encoded Encoding encode prompts_of",
    "training": "outputs students",
    "training.checkpoints": "FOLDER",
    "training.fitting": "UNROUNDED",
    "training.saving": "Pace",
    "training.students": "SAMPLES rounded",
    "training.trainlog": "Log",
}
"""What other plugins may build on beside the backends, imported on first use: torch is heavy. All else here may change."""
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = ["DoRA", "Full", "HFRunner", "HFTeacher", "LoRA", "QLoRA", *sorted(_HOME_OF)]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'pillm_hf' has no attribute {name!r}")
    home = import_module(f"pillm_hf.{_HOME_OF[name]}")
    return getattr(home, name) if hasattr(home, name) else import_module(f"{home.__name__}.{name}")


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
