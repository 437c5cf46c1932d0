"""The options with which a training would fit into memory, where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pillm_hf.models.memory import free_bytes
from pillm_hf.options.finetuning import FineTuning
from pillm_hf.options.lora import LoRAOptions
from pillm_hf.rows.text import Encoded
from pillm_hf.training import parting, planning

if TYPE_CHECKING:
    import torch

_LESS = 0.75
"""The share of what did not fit, although it was thought to, that something else may take."""


class Alternatives:
    """What else would fit beside what a teacher holds; `free` are the bytes that were free before the training began."""

    def __init__(self, options: FineTuning, folder: Path, rows: list[Encoded], dtype: torch.dtype, beside: int = 0) -> None:
        self.options, self.folder, self.rows, self.dtype, self.beside = options, folder, rows, dtype, beside
        device = planning.device_of(options)
        self.free = parting.share(options, free_bytes(device), device)

    def ran_out(self, *, checkpointing: bool) -> str:
        """Return what to say where memory ran out in a step."""
        return (
            f"memory ran out with per_device_train_batch_size={self.options.per_device_train_batch_size}; the step was not "
            f"taken, and checkpoints saved before it are kept. {self.advice(checkpointing=checkpointing)}"
        )

    def advice(self, *, checkpointing: bool) -> str:
        """Return what to set instead of the options as they are, in sentences."""
        size, accumulation = self.options.per_device_train_batch_size, self.options.gradient_accumulation_steps
        try:
            most = _LESS * self._bytes(size, checkpointing=checkpointing)
        except planning.UNTRACEABLE:
            return self._guess(checkpointing=checkpointing)
        most = most if self.free is None else min(most, planning.SPARE * self.free)
        for fewer, again in self._others(checkpointing=checkpointing):
            needed = self._bytes(fewer, checkpointing=again)
            if needed <= most:
                named = [f"gradient_checkpointing={str(again).lower()}"] if again and not checkpointing else []
                if fewer < size:
                    steps = accumulation * size // fewer
                    named = [f"per_device_train_batch_size={fewer}", f"gradient_accumulation_steps={steps}", *named]
                return f"Set {' and '.join(named)}, which learns the same and takes about {needed / 2**30:.2g} GiB."
        return self._nothing()

    def _others(self, *, checkpointing: bool) -> Iterator[tuple[int, bool]]:
        """Yield what takes less, the fastest first: fewer rows at a time, then activations that are computed again."""
        size = self.options.per_device_train_batch_size
        fewer = [rows for rows in range(size - 1, 0, -1) if size % rows == 0]
        yield from ((rows, checkpointing) for rows in fewer)
        if not checkpointing:
            yield from ((rows, True) for rows in (size, *fewer))

    def _bytes(self, size: int, *, checkpointing: bool) -> float:
        batch = planning.largest(self.rows, size)
        told = {"checkpointing": checkpointing, "beside": self.beside}
        needed = planning.need(self.options, self.folder, batch, self.dtype, **told)
        return needed.taken(planning.device_of(self.options))

    def _nothing(self) -> str:
        longest = max(len(row.ids) for row in self.rows)
        bits = "" if not isinstance(self.options, LoRAOptions) or self.options.load_in_4bit else ", or load_in_4bit=true"
        whole = not isinstance(self.options, LoRAOptions) and parting.parts(self.options) == 1
        if whole and self.options.distill is None and self.options.quantization_aware is None:
            bits = ", or launcher.strategy=fsdp2, which parts the weights over the processes of several GPUs or machines"
        return f"Set a max_length under {longest}, which leaves the longest rows out{bits}, or choose a smaller base."

    def _guess(self, *, checkpointing: bool) -> str:
        size, accumulation = self.options.per_device_train_batch_size, self.options.gradient_accumulation_steps
        fewer = next((rows for rows, _ in self._others(checkpointing=True)), size)
        named = ["gradient_checkpointing=true"] if not checkpointing else []
        if fewer < size:
            named = [
                f"per_device_train_batch_size={fewer}",
                f"gradient_accumulation_steps={accumulation * size // fewer}",
                *named,
            ]
        return f"Set {' and '.join(named)}, which learns the same." if named else self._nothing()
