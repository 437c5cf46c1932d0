"""What can be told of an adapter's folder, and where the model that it belongs on is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pillm
from pillm_llamacpp.gates.checks import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ADAPTER_FILE = "adapter_config.json"


def base_of(folder: Path) -> Path | None:
    """Return the folder of the model that an adapter belongs on, where it is on this machine."""
    name = (read_json(folder / ADAPTER_FILE) or {}).get("base_model_name_or_path")
    return pillm.model_folder(name) if isinstance(name, str) and name else None


def examine_adapter(folder: Path) -> Iterator[pillm.Finding]:
    """Yield what was found of the adapter alone."""
    settings = read_json(folder / ADAPTER_FILE) or {}
    kind, rank = settings.get("peft_type") or "LORA", settings.get("r")
    name = settings.get("base_model_name_or_path")
    if kind != "LORA":
        yield pillm.Finding("adapter", "broken", f"it is a {kind} adapter, which cannot be merged into a model's weights",
                            "Train with the trainer lora or dora.")  # fmt: skip
        return
    if not any(folder.glob("*.safetensors")):
        yield pillm.Finding("adapter", "broken", f"{folder} holds no weights (*.safetensors)", "Save the adapter again.")
        return
    dora = ", with magnitudes (DoRA)" if settings.get("use_dora") else ""
    yield pillm.Finding("adapter", "ok", f"LoRA of rank {rank} on {name}{dora}")
    if base_of(folder) is None:
        yield pillm.Finding("base", "missing", f"the model that it belongs on, {name!r}, is in no folder of this machine",
                            f"Write its folder into {ADAPTER_FILE} (base_model_name_or_path).")  # fmt: skip
