"""Make a student of a base: fewer layers, fewer rows in its tables of tokens, or the same shape with random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillm
from pillm_hf.models.loading import load_model
from pillm_hf.shrinking.shapes import lists_per_layer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig


def configured(before: PreTrainedConfig, shape: Mapping[str, Any]) -> PreTrainedConfig:
    """Return a student's shape as a configuration of its base's class; raise ConfigError where the class refuses it."""
    try:
        return type(before).from_dict(dict(shape))
    except Exception as error:
        raise pillm.ConfigError(f"config: the sizes do not fit together ({_line(error)}). Nothing was trained.") from error


def is_regular(config: PreTrainedConfig) -> bool:
    """Return whether each layer is of the kind that its architecture has at that place, which is all llama.cpp goes by."""
    shape = config.to_dict()
    told = lists_per_layer(shape)
    try:
        usual = type(config).from_dict({name: value for name, value in shape.items() if name not in told}).to_dict()
    except Exception:  # noqa: BLE001 - an architecture without a pattern of its own: the lists say it all
        return True
    return all(usual.get(name) in (None, kinds) for name, kinds in told.items())


def from_scratch(config: PreTrainedConfig, seed: int) -> Any:
    """Return a model with random weights that has read two tokens; raise ConfigError where the sizes do not fit together."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            model = AutoModelForCausalLM.from_config(config, dtype=config.dtype, trust_remote_code=False).eval()
            with torch.inference_mode():
                model(input_ids=torch.zeros((1, 2), dtype=torch.long))
        except MemoryError as error:
            raise pillm.BackendError("a student of this config does not fit in memory. Choose smaller sizes.") from error
        except Exception as error:
            raise pillm.ConfigError(f"config: the sizes do not fit together ({_line(error)}). Nothing was trained.") from error
    return model


def cut(base: Path, config: PreTrainedConfig, layers: Sequence[int], tokens: Sequence[int] | None) -> Any:
    """Return the base's model with these layers only and, unless None, the rows of these tokens only.

    A new model of the student's configuration takes the weights over, so that each layer knows its place and its kind.
    """
    import torch
    from transformers import AutoModelForCausalLM

    model = load_model(base, "auto", device_map="cpu")
    weights = _cut_weights(model, layers, tokens)
    with torch.device("meta"):
        student = AutoModelForCausalLM.from_config(config, dtype=model.dtype, trust_remote_code=False)
    student.load_state_dict(weights, strict=True, assign=True)
    student.tie_weights()
    return student


def _cut_weights(model: Any, layers: Sequence[int], tokens: Sequence[int] | None) -> dict[str, torch.Tensor]:
    """Return a model's weights for a student with these layers only, and, unless None, the rows of these tokens only.

    Raises DataError where the model's tables have no row for a token.
    """
    import torch

    rename = _renaming(model, layers)
    tables = _tables(model)
    rows = None if tokens is None else torch.tensor(tokens)
    weights = {}
    for name, weight in model.state_dict().items():
        new_name = rename(name)
        if new_name is None:
            continue
        if rows is not None and name in tables:
            if int(rows.max()) >= len(weight):
                raise pillm.DataError(
                    f"the base's tokenizer has a token {int(rows.max())}, but {name} has {len(weight)} rows. Save the base "
                    "again with a tokenizer and tables that fit."
                )
            weight = weight[rows]
        weights[new_name] = weight
    return weights


def _renaming(model: Any, layers: Sequence[int]) -> Callable[[str], str | None]:
    """Return what gives a weight its name in the student, or None where its layer is dropped."""
    from torch.nn import ModuleList

    count = int(model.config.num_hidden_layers)
    stacks = [name for name, part in model.named_modules() if isinstance(part, ModuleList) and len(part) == count]
    if not stacks:
        raise pillm.ConfigError(f"keep_layers: {type(model).__name__} keeps its layers in no list, so none can be dropped.")
    prefix = min(stacks, key=lambda name: name.count(".")) + "."
    places = {str(old): str(new) for new, old in enumerate(layers)}

    def rename(name: str) -> str | None:
        if not name.startswith(prefix):
            return name
        layer, _, rest = name.removeprefix(prefix).partition(".")
        return f"{prefix}{places[layer]}.{rest}" if layer in places else None

    return rename


def _tables(model: Any) -> set[str]:
    """Return the names of the weights that have one row for each token."""
    parts = {id(part) for part in (model.get_input_embeddings(), model.get_output_embeddings()) if part is not None}
    return {
        f"{name}.{weight}"
        for name, part in model.named_modules()
        if id(part) in parts
        for weight, _ in part.named_parameters(recurse=False)
    }


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]
