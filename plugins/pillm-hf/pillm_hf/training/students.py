"""The student: its base with adapters to train, and the merge of the trained adapters into 16-bit weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillm
from pillm_hf.losses.batches import collate
from pillm_hf.losses.loss import kept_logits
from pillm_hf.models.adapters import adapted
from pillm_hf.models.loading import load_model, quiet, settled_dtype
from pillm_hf.models.precision import Warn
from pillm_hf.models.quantizing import keep_gradients, quantization
from pillm_hf.options.finetuning import FineTuning
from pillm_hf.options.lora import LoRAOptions
from pillm_hf.rounding.adapted import merge
from pillm_hf.rows.text import Encoded
from pillm_hf.training import attention

if TYPE_CHECKING:
    import torch

SAMPLES = 8  # conversations on which the student in 16 bit is compared with the trained one
TOLERANCE = 0.05  # nats: rounding to 16 bit moves a token's distribution by far less, a wrong merge by far more


def build(options: FineTuning, folder: Path, warn: Warn) -> tuple[Any, torch.dtype]:
    """Return the model to train, and the number format of its products."""
    model, dtype = _base(options, folder, warn)
    if model.device.type == "cpu":
        attention.use(model)
    return (with_adapters(model, options, folder) if isinstance(options, LoRAOptions) else model), dtype


def computed_dtype(options: FineTuning, warn: Warn) -> torch.dtype:
    """Return the number format of a training's products; one that the device lacks is replaced, with a warning."""
    dtype = settled_dtype(options.dtype, options.device_map, warn)
    if isinstance(options, LoRAOptions) and options.load_in_4bit and options.compute_dtype != "auto":
        return settled_dtype(options.compute_dtype, options.device_map, warn)
    return dtype


def _base(options: FineTuning, folder: Path, warn: Warn) -> tuple[Any, torch.dtype]:
    import torch

    dtype = computed_dtype(options, warn)
    if not isinstance(options, LoRAOptions):
        return load_model(folder, torch.float32, device_map=options.device_map), dtype
    held = quantization("4bit" if options.load_in_4bit else "none", dtype, kind=options.quant_type, double=options.double_quant)
    model = load_model(folder, dtype, device_map=options.device_map, quantization=held)
    keep_gradients(model)
    return model, dtype


def with_adapters(model: Any, options: LoRAOptions, folder: Path) -> Any:
    """Return a model frozen, with adapters to learn; raise ConfigError where it lacks a layer that the options name."""
    from peft import LoraConfig, get_peft_model

    model.requires_grad_(False)
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=options.target_modules,
        use_dora=options.use_dora,
        task_type="CAUSAL_LM",
        base_model_name_or_path=str(folder),
    )
    try:
        with quiet():
            return get_peft_model(model, config)  # adapters are float32, whatever the base is
    except ValueError as error:
        raise pillm.ConfigError(f"target_modules {options.target_modules!r}: {error}") from error


def merged(options: FineTuning, folder: Path, adapter: Path, samples: list[Encoded], pad_id: int) -> Any:
    """Return the base with a saved adapter merged into weights of 16 bit, on the CPU.

    The base is read anew, never in 4 bit: merging into 4-bit weights loses quality and cannot be exported. Raises
    BackendError where the merged student does not answer like base and adapter.
    """
    # weights that were rounded in training must come out as they were there, bit for bit
    exact, half = options.quantization_aware is not None, stored_dtype(options, folder)
    read_as = computed_dtype(options, lambda _: None) if exact else "auto"
    made = adapted(load_model(folder, read_as, device_map="cpu"), adapter).eval()
    with quiet():
        before = _distributions(made, samples, pad_id)
        model = in_16_bit(merge(made, half) if exact else made.merge_and_unload(), half)
    compare(before, _distributions(model, samples, pad_id), adapter)
    return model


def rounded(model: Any, dtype: torch.dtype, kept: Path, samples: list[Encoded], pad_id: int) -> Any:
    """Return a fully trained model in 16 bit, on the CPU; raise BackendError where rounding changed its answers.

    `kept` is where the model as it was trained stands already, for the error to name.
    """
    before = _distributions(model.to("cpu"), samples, pad_id)
    model = in_16_bit(model, dtype)
    compare(before, _distributions(model, samples, pad_id), kept)
    return model


def in_16_bit(model: Any, dtype: torch.dtype) -> Any:
    """Return the model with its weights in that format; buffers stay, for rotary frequencies rounded to 16 bit are wrong."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def stored_dtype(options: FineTuning, folder: Path) -> torch.dtype:
    """Return the student's 16-bit format: a base stored in 32 bit becomes bfloat16, which has its range."""
    import torch

    config = pillm.Checkpoint(path=folder).config
    half = "float16" in (config.get("dtype"), config.get("torch_dtype"))
    chosen = options.save_dtype if options.save_dtype != "auto" else "float16" if half else "bfloat16"
    return torch.float16 if chosen == "float16" else torch.bfloat16


def compare(before: torch.Tensor, after: torch.Tensor, kept: Path) -> None:
    """Raise BackendError where two sets of log-probabilities [tokens, vocabulary] differ by more than rounding."""
    import torch

    divergence = float((before.exp() * (before - after)).sum(-1).mean())
    if not (bool(torch.isfinite(after).all()) and divergence <= TOLERANCE):
        raise pillm.BackendError(
            f"the student in 16 bit differs from the trained one by {divergence:.3g} nats per token, and at most {TOLERANCE} "
            f"is rounding; no checkpoint was written. What was trained is kept in {kept}. "
            "Train again with a lower learning_rate."
        )


def _distributions(model: Any, samples: list[Encoded], pad_id: int) -> torch.Tensor:
    import torch

    with torch.no_grad():
        return torch.cat([kept_logits(model, collate([row], pad_id))[0].float().log_softmax(-1).cpu() for row in samples])
