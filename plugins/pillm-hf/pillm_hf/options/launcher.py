"""The option `launcher`: how many processes train one student, on how many machines, and how they share the work."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

import pillm

Strategy: TypeAlias = Literal["ddp", "fsdp2", "deepspeed"]


class Launcher(BaseModel):
    """Processes that train one student together; what it learns does not depend on them, save for rounding."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    processes: int = Field(ge=1, le=4096, description="Processes in all, on every machine as many; one for each GPU.")
    strategy: Strategy = Field(
        "ddp",
        description="ddp: a whole student in each process; fsdp2: each holds a part of it; deepspeed: DeepSpeed's ZeRO.",
    )
    zero_stage: Literal[2, 3] | None = Field(
        None, description="DeepSpeed's ZeRO stage: 2 (where absent) parts optimiser and gradients, 3 the weights too."
    )
    threads: int | None = Field(
        None, ge=1, description="Processor threads of each process; absent: the machine's cores, shared out evenly."
    )
    machines: int = Field(1, ge=1, description="Machines; the same command runs on each, with its own machine_rank.")
    machine_rank: int = Field(0, ge=0, description="Which of the machines this is; 0 is the one that the others call.")
    main_process_ip: str | None = Field(
        None, min_length=1, description="Address of machine 0, as the others reach it; needed with several machines."
    )
    main_process_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="A free port of machine 0; absent: 29500 with several machines, else any.",
    )

    @property
    def here(self) -> int:
        """Return how many processes run on each machine."""
        return self.processes // self.machines

    @model_validator(mode="after")
    def _require_sense(self) -> Self:
        """Refuse numbers that do not fit together, and options that nothing would come of."""
        if self.processes % self.machines:
            raise ValueError(
                f"{self.processes} processes cannot be shared out evenly over {self.machines} machines. "
                "Give processes as a multiple of machines"
            )
        if self.machine_rank >= self.machines:
            raise ValueError(f"machine_rank {self.machine_rank} is none of {self.machines} machines: they are counted from 0")
        if self.machines > 1 and self.main_process_ip is None:
            raise ValueError("several machines need main_process_ip, the address of machine 0")
        if self.machines == 1 and self.main_process_ip is not None:
            raise ValueError("main_process_ip only counts with several machines. Leave it out, or give machines")
        if self.zero_stage is not None and self.strategy != "deepspeed":
            raise ValueError("zero_stage only counts with strategy=deepspeed. Leave it out, or choose that")
        return self


def require_deepspeed(launcher: Launcher) -> None:
    """Raise MissingDependency where DeepSpeed shall part the work and is not installed."""
    if launcher.strategy == "deepspeed" and find_spec("deepspeed") is None:
        raise pillm.MissingDependency(
            "strategy=deepspeed needs DeepSpeed. Install it beside pillm-hf: pip install deepspeed. Or set "
            "launcher.strategy=fsdp2, which parts weights, gradients and optimiser as ZeRO stage 3 does and needs nothing more."
        )


def require_gpus(launcher: Launcher, device_map: str | None) -> None:
    """Raise ConfigError where processes shall compute on GPUs and this machine has fewer of them."""
    if device_map == "cpu":
        return
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count < launcher.here and (count or device_map == "cuda"):
        raise pillm.ConfigError(
            f"{launcher.here} processes on this machine need a GPU each, and torch can use {count}. Nothing was started. "
            "Set fewer launcher.processes, or device_map=cpu."
        )
