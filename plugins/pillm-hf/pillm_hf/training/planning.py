"""What a training will take, told before it starts: memory by tracing a step without numbers.

On torch's `meta` device tensors have shapes and no content. So a step of any architecture can be traced in a fraction of a
second, and what its backward pass would keep be added up, whether or not it would fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillm
from pillm_hf.distilling.footprint import said_of, teacher_bytes
from pillm_hf.losses.batches import Batch, collate, steps_per_epoch
from pillm_hf.losses.head import logits_bytes
from pillm_hf.models.memory import free_bytes, give_back, is_out_of_memory, resident_bytes
from pillm_hf.models.precision import default_device
from pillm_hf.options.finetuning import FineTuning
from pillm_hf.options.lora import LoRAOptions
from pillm_hf.rows.text import Encoded
from pillm_hf.training import parting
from pillm_hf.training.activations import kept_small

if TYPE_CHECKING:
    import torch

    from pillm_hf.training.alternatives import Alternatives

_ADAMW = 16  # bytes for each learnt weight in float32: itself, its gradient, and two moments
SPARE = 0.9
"""The share of the free memory that a training may count on: other processes breathe too."""
_MAPPED = 32 << 20
"""From this size on the C library gives a tensor pages of its own, and takes them back; smaller ones lie on its heap."""
_WASTED = {True: 2.3, False: 1.6}
"""What the heap grows to, as a multiple of what lies on it at a time, with adapters and without: measured 2.2 to 2.4 and 1.5 to
1.7, and 1.0 where every tensor has pages of its own."""


UNTRACEABLE = (RuntimeError, NotImplementedError, TypeError, ValueError)
"""What tracing an architecture that knows nothing of `meta` ends in."""


def device_of(options: FineTuning) -> str:
    """Return where a training computes: "cuda" or "cpu"."""
    return "cpu" if options.device_map == "cpu" else default_device()


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that a training takes beside what the process holds already."""

    held: int
    """The weights as they are held, and AdamW's memory of what is learnt."""
    kept: int
    """What the largest pass keeps for its backward pass."""
    passing: int
    """What is there for moments: logits of a piece or of all answers, the copies of a layer's largest product."""
    small: float = 0.0
    """The share of what is kept that lies on a CPU's heap."""
    adapters: bool = False

    @property
    def bytes(self) -> int:
        """Return the most that is held at a time."""
        return self.held + self.kept + self.passing

    def taken(self, device: str) -> int:
        """Return the bytes that the process comes to take on a device: a CPU's heap does not give all back at once."""
        if device != "cpu":
            return self.bytes
        return int(self.held + (self.kept + self.passing) * (1 + self.small * (_WASTED[self.adapters] - 1)))


def largest(rows: list[Encoded], size: int) -> Batch:
    """Return the batch that a training on these rows will find the largest."""
    return collate(sorted(rows, key=lambda row: len(row.ids))[-size:], 0)


def need(options: FineTuning, folder: Path, batch: Batch, dtype: torch.dtype, *, checkpointing: bool, beside: int = 0) -> Need:
    """Return what a training takes whose largest batch is this one, and beside which so many bytes are held by a teacher."""
    import torch

    model = _traced(options, folder, dtype)
    weights = sum(part.numel() for part in model.parameters())
    learnt = sum(part.numel() for part in model.parameters() if part.requires_grad)
    vocabulary = model.get_input_embeddings().num_embeddings
    half = torch.empty((), dtype=dtype).element_size()
    kept, small = _kept(model, batch)
    whole = max(1, kept)
    layers = max(1, model.config.get_text_config().num_hidden_layers)
    if checkpointing:  # a layer's input is kept, and the inside of one layer at a time
        width = model.config.get_text_config().hidden_size
        kept = kept // layers + layers * batch.ids.numel() * width * 4
    rounds = options.quantization_aware is not None  # rounded weights lie beside those that are learnt
    logits = logits_bytes(model, batch, dtype, splits=parting.splits_head(options))
    if isinstance(options, LoRAOptions):
        held = _held(options, weights - learnt, model, half) + learnt * _ADAMW + (weights * half if rounds else 0)
        passing = logits
    else:
        cast = (
            weights * half if half < 4 and parting.parts(options) == 1 else 0
        )  # autocast keeps a copy of what it multiplied with
        held = learnt * (_ADAMW + (4 if rounds else 0))
        passing = logits + cast + 4 * vocabulary * model.config.get_text_config().hidden_size
    held = parting.held_by_one(options, held, model, layers, half)
    return Need(
        held=held + beside,
        kept=kept,
        passing=passing + kept // layers,
        small=small / whole,
        adapters=isinstance(options, LoRAOptions),
    )


def _held(options: LoRAOptions, frozen: int, model: Any, half: int) -> int:
    """Return the bytes of the frozen base: 4 bit in its linear layers where that is asked for."""
    if not options.load_in_4bit:
        return frozen * half
    tables = sum(module.weight.numel() for module in (model.get_input_embeddings(),))
    blocks = 64 if not options.double_quant else 64 * 4  # a float32 scale for each 64 weights, or one byte and a bit more
    return tables * half + (frozen - tables) // 2 + (frozen - tables) * 4 // blocks


def _traced(options: FineTuning, folder: Path, dtype: torch.dtype) -> Any:
    """Return the student as shapes without numbers, with its adapters."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from pillm_hf.training import attention
    from pillm_hf.training.students import with_adapters

    pillm.check_model_folder(folder)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
        if default_device() == "cpu":
            attention.use(model)
        if isinstance(options, LoRAOptions):
            model = with_adapters(model, options, folder)
    return model.to(dtype).train()


def _kept(model: Any, batch: Batch) -> tuple[int, int]:
    """Return the bytes that a forward pass keeps for its backward pass, weights not counted, and those in small tensors."""
    import torch

    own = {part.untyped_storage()._cdata for part in (*model.parameters(), *model.buffers())}
    found: dict[int, int] = {}
    alive: list[Any] = []

    def note(tensor: Any) -> Any:
        if isinstance(tensor, torch.Tensor) and (storage := tensor.untyped_storage())._cdata not in own:
            found[storage._cdata] = storage.nbytes()
            alive.append(tensor)  # else another storage may come to lie in its place
        return tensor

    rows, width = batch.ids.shape
    with torch.device("meta"), kept_small(model), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        mask = torch.empty((rows, 1, width, width), dtype=model.dtype)  # else its making asks for numbers
        model(input_ids=torch.empty((rows, width), dtype=torch.long), attention_mask=mask, use_cache=False, logits_to_keep=1)
    return sum(found.values()), sum(size for size in found.values() if size < _MAPPED)


def _known(
    options: FineTuning, folder: Path, batch: Batch, dtype: torch.dtype, *, checkpointing: bool, beside: int
) -> int | None:
    """Return the bytes that a training comes to take, or None of an architecture that cannot be traced."""
    try:
        return need(options, folder, batch, dtype, checkpointing=checkpointing, beside=beside).taken(device_of(options))
    except UNTRACEABLE:
        return None


def chosen_checkpointing(
    options: FineTuning, folder: Path, rows: list[Encoded], dtype: torch.dtype, *, beside: int = 0
) -> bool:
    """Return whether activations are computed again: as the options say, else where memory would not hold them."""
    if options.gradient_checkpointing is not None:
        return options.gradient_checkpointing
    device = device_of(options)
    free = parting.share(options, free_bytes(device), device)
    if free is None:
        return False
    batch = largest(rows, options.per_device_train_batch_size)
    needed = _known(options, folder, batch, dtype, checkpointing=False, beside=beside)
    return needed is not None and needed > SPARE * free


def forecast(
    options: FineTuning, rows: list[Encoded], folder: Path, dtype: torch.dtype, teacher: pillm.Teacher | None
) -> pillm.TrainingForecast:
    """Return what a training on encoded rows takes; where it fits, a few steps are taken to time them.

    Of an architecture that cannot be traced neither memory nor time is told: a step that does not fit may end the process.
    """
    sizes = options.per_device_train_batch_size, options.gradient_accumulation_steps
    device = device_of(options)
    free = parting.share(options, free_bytes(device), device)
    batch = largest(rows, sizes[0])
    held = teacher_bytes(options, teacher, dtype)
    beside = held or 0
    checkpointing = chosen_checkpointing(options, folder, rows, dtype, beside=beside)
    base = resident_bytes() if device == "cpu" else 0
    advice, seconds = said_of(options, held) + parting.said_of(options), None
    if checkpointing and options.gradient_checkpointing is None:
        advice.append("Activations are computed again, since memory would not hold them (gradient_checkpointing).")
    needed = _known(options, folder, batch, dtype, checkpointing=checkpointing, beside=beside)
    if needed is None:
        advice.append("Its memory and time are not known: steps of this architecture cannot be traced.")
    else:
        from pillm_hf.training.alternatives import Alternatives

        others = Alternatives(options, folder, rows, dtype, beside)
        if free is not None and needed > free:
            advice.append(f"It does not fit. {others.advice(checkpointing=checkpointing)}")
        else:
            seconds, said = _timed(others, batch, checkpointing=checkpointing)
            advice += said
    return pillm.TrainingForecast(
        rows=len(rows),
        steps=steps_per_epoch(len(rows), *sizes) * options.num_train_epochs,
        tokens=sum(len(row.ids) for row in rows) * options.num_train_epochs,
        memory_bytes=None if needed is None else needed + base,
        free_bytes=None if free is None else free + base,
        seconds=seconds,
        advice=" ".join(advice),
    )


def _fits_alone(options: FineTuning, folder: Path, batch: Batch, dtype: torch.dtype, *, checkpointing: bool) -> bool:
    """Return whether this process can take the steps of a training whose weights several processes would part."""
    if parting.parts(options) == 1:
        return True
    device, alone = device_of(options), options.model_copy(update={"launcher": None})
    free = free_bytes(device)
    return free is None or need(alone, folder, batch, dtype, checkpointing=checkpointing).taken(device) <= free


def _timed(others: Alternatives, batch: Batch, *, checkpointing: bool) -> tuple[float | None, list[str]]:
    """Return how long a training takes that fits, or what to say where it could not be timed."""
    from pillm_hf.training.timing import seconds

    options, rows, folder = others.options, others.rows, others.folder
    if not _fits_alone(options, folder, batch, others.dtype, checkpointing=checkpointing):
        return None, ["It is not timed: one process alone does not hold it."]
    try:
        return seconds(options, rows, folder, checkpointing=checkpointing), []
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    give_back()
    return None, [f"Memory ran out while steps were timed. {others.advice(checkpointing=checkpointing)}"]
