"""The trainers `lora`, `dora` and `qlora`: adapters on a frozen base."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from pillm_hf.models.quantizing import require_bitsandbytes
from pillm_hf.options.lora import LoRAOptions
from pillm_hf.trainers.trainer import HFTrainer


class LoRA(LoRAOptions, HFTrainer):
    """Low-rank adapters on a frozen base, merged into a 16-bit checkpoint."""

    name: ClassVar[str] = "lora"

    def check(self) -> None:
        """Raise where there is no such base or no such GPU, or nothing to hold weights in 4 bit with."""
        super().check()
        require_bitsandbytes("4bit" if self.load_in_4bit else "none")


class DoRA(LoRA):
    """LoRA that learns magnitude and direction apart."""

    name: ClassVar[str] = "dora"

    use_dora: bool = Field(True, description="Learn each weight's magnitude apart from its direction (DoRA).")


class QLoRA(LoRA):
    """LoRA on a base held in 4 bit; the merge is done in 16 bit."""

    name: ClassVar[str] = "qlora"

    load_in_4bit: bool = Field(True, description="Hold the frozen base in 4 bit (needs bitsandbytes).")
