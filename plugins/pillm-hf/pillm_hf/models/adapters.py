"""Put a saved adapter on its base, and on no other: peft itself passes over weights that have no place there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pillm
from pillm_hf.models.hub import weights_hash
from pillm_hf.models.loading import first_line, look_at, quiet

BASE_FILE = "base.json"
"""What an adapter's folder says of the base that it was trained on: its name, and a hash of its weights."""


def write_base(adapter: Path, name: str, base: Path) -> None:
    """Write down beside an adapter which weights it was trained on."""
    said = {"base": name, "weights_sha256": weights_hash(base)}
    (adapter / BASE_FILE).write_text(json.dumps(said, indent=2, ensure_ascii=False) + "\n", "utf-8")


def require_base(adapter: Path, base: Path) -> None:
    """Raise DataError where an adapter says that it was trained on other weights than a base has."""
    path = adapter / BASE_FILE
    if not path.is_file():
        return  # it was trained elsewhere
    try:
        said = json.loads(path.read_text("utf-8"))
        name, wanted = str(said["base"]), said["weights_sha256"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise pillm.DataError(f"{path} cannot be read ({error}). Mend it, or remove it to use the adapter unproved.") from error
    if weights_hash(base) != wanted:
        raise pillm.DataError(
            f"{adapter} was trained on {name}, and {base} has other weights; nothing was changed. Name the right base in "
            f"{adapter.name}/adapter_config.json (base_model_name_or_path). If it is the same model, only saved otherwise, "
            f"remove {BASE_FILE}."
        )


def adapted(model: Any, adapter: Path) -> Any:
    """Return a model with a saved adapter on it, unmerged; raise DataError where the two do not match in every weight."""
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    look_at(adapter)
    try:
        with quiet(), safe_open(adapter / "adapter_model.safetensors", "pt") as file:
            made = PeftModel.from_pretrained(model, adapter)
            held = set(file.keys())
    except Exception as error:  # peft, torch and safetensors each have their own
        raise pillm.DataError(f"{adapter} does not fit its base ({first_line(error)}). {_REMEDY}") from error
    wanted = set(get_peft_model_state_dict(made, save_embedding_layers=False))  # else it would ask a hub for the base
    strange = {name for name in held - wanted if ".lora_" in name}  # whole tables of tokens may lie beside them
    if strange or wanted - held:
        names = ", ".join(sorted(strange | wanted - held)[:3])
        raise pillm.DataError(
            f"{adapter} does not fit its base: {len(strange)} of its weights have no place there and {len(wanted - held)} are "
            f"missing ({names}, ...). {_REMEDY}"
        )
    return made


_REMEDY = "Nothing was changed. Name the base that it was trained on in its adapter_config.json (base_model_name_or_path)."
