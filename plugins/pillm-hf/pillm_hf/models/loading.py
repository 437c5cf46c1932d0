"""Load models and tokenizers from a folder: safetensors only, never Python from a hub, nothing printed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillm
from pillm_hf.models.hub import adapter_of, base_of
from pillm_hf.models.precision import DType, Warn, choose_dtype, default_device, log, require_device
from pillm_hf.models.quantizing import import_bitsandbytes

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from drawing its own progress bars, and peft from being warned of its own calls."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            yield
    finally:
        if shown:
            logging.enable_progress_bar()


def look_at(folder: Path) -> None:
    """Have a folder's files checked before any library opens them; raise UnsafeError and DataError, log what is worth it."""
    for note in pillm.check_model_folder(folder):
        if (folder, note) not in _told:
            _told.add((folder, note))
            log.warning("%s: %s.", folder, note)


_told: set[tuple[Path, str]] = set()


def load_model(
    folder: Path,
    dtype: torch.dtype | str,
    *,
    device_map: str | None = None,
    quantization: BitsAndBytesConfig | None = None,
) -> PreTrainedModel:
    """Load a folder's model for causal language modelling in evaluation mode.

    Raises DataError where the folder is no model, UnsafeError where it wants its own Python code or a file of it was made
    to do harm, and BackendError where it does not fit in memory.
    """
    from transformers import AutoModelForCausalLM

    look_at(folder)
    pillm.check_own_code(folder)
    try:
        with quiet():
            model, found = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                device_map=device_map or default_device(),
                quantization_config=quantization,
                trust_remote_code=False,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
    except (MemoryError, RuntimeError) as error:
        raise pillm.BackendError(
            f"{folder} could not be loaded ({first_line(error)}). Nothing was changed. "
            "If memory ran out, choose a smaller model or load_in=4bit."
        ) from error
    except Exception as error:
        raise pillm.DataError(
            f"{folder}: the model cannot be read ({first_line(error)}). It needs config.json of an architecture that "
            "transformers knows, and its weights as *.safetensors."
        ) from error
    _require_whole(folder, model, found)
    return model.eval()


def load_config(folder: Path) -> PreTrainedConfig:
    """Load a folder's configuration, with what its class adds; raise UnsafeError and DataError like `load_model`."""
    from transformers import AutoConfig

    look_at(folder)
    pillm.check_own_code(folder)
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        raise pillm.DataError(
            f"{folder}: config.json cannot be read ({first_line(error)}). It needs an architecture that transformers knows."
        ) from error
    return config


def load_adapted(folder: Path, dtype: torch.dtype | str, *, device_map: str | None = None, **more: Any) -> PreTrainedModel:
    """Load a folder's model; one that holds only an adapter is put on its base, and merged in memory.

    On weights held in 8 or 4 bit the adapter stays beside them: merging would round what was learnt away. Raises DataError
    where base and adapter do not match.
    """
    adapter = adapter_of(folder)
    if adapter is None:
        return load_model(folder, dtype, device_map=device_map, **more)
    import_bitsandbytes()
    from pillm_hf.models.adapters import adapted, require_base

    source = base_of(adapter).fetch()
    require_base(adapter, source)
    base = load_model(source, dtype, device_map=device_map, **more)
    model = adapted(base, adapter)
    with quiet():
        held = getattr(base, "is_quantized", False)
        return (model.get_base_model() if held else model.merge_and_unload()).eval()


def settled_dtype(asked: DType, device_map: str | None, warn: Warn = log.warning) -> torch.dtype:
    """Return the number format for where a model will be put; raise ConfigError where there is no such place."""
    device = device_map or default_device()
    require_device(device)
    return choose_dtype(asked, default_device() if device == "auto" else device, warn)


def _require_whole(folder: Path, model: PreTrainedModel, found: dict[str, Any]) -> None:
    """Raise DataError where weights are absent or of another shape: transformers would fill them with random numbers."""
    weights = {name for name, _ in model.named_parameters()}  # a buffer that no file holds is computed, not learnt
    missing = sorted(weights & set(found["missing_keys"]))
    other = sorted(str(entry[0] if isinstance(entry, (list, tuple)) else entry) for entry in found["mismatched_keys"])
    if missing or other:
        names = ", ".join((missing + other)[:3])
        raise pillm.DataError(
            f"{folder}: {len(missing)} weights are missing and {len(other)} have another shape than config.json says "
            f"({names}, ...). An answer would come from random numbers. Fetch or save the model again."
        )


def first_line(error: Exception) -> str:
    """Return an error's kind and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
