"""What this machine computes in: its device, and the number format that is fast there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import pillm

if TYPE_CHECKING:
    import torch

DType: TypeAlias = Literal["auto", "bfloat16", "float16", "float32"]
Warn: TypeAlias = Callable[[str], None]

log = logging.getLogger("pillm_hf")


@cache
def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the processor multiplies bfloat16 matrices itself; without that, bfloat16 is slower than float32."""
    try:
        words = set(cpuinfo.read_text("utf-8", "replace").split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16"})


def gpu_has_bf16() -> bool:
    """Return whether the GPU computes in bfloat16 (Ampere and later), not merely emulates it."""
    import torch

    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def default_device() -> str:
    """Return the device that a model is put on where none was asked for."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def require_device(device: str | None) -> None:
    """Raise ConfigError where a GPU is asked for that this machine, or its torch, does not have."""
    kind, _, number = (device or "").partition(":")
    if kind != "cuda":
        return
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (int(number) if number.isdigit() else 0) >= count:
        have = f"cuda:0 to cuda:{count - 1}" if count > 1 else "cuda:0 only" if count else "no GPU that torch can use"
        raise pillm.ConfigError(
            f"device_map={device}: this machine has {have}. Leave device_map out, or set device_map=cpu; "
            "with a GPU, install a torch that is built for it."
        )


def choose_dtype(asked: DType, device: str, warn: Warn = log.warning) -> torch.dtype:
    """Return the number format to compute in; one that the device lacks is replaced, with a warning.

    "auto" is bfloat16 where the hardware has it, else float16 on a GPU and float32 on a CPU.
    """
    import torch

    gpu = device != "cpu"
    has_bf16 = gpu_has_bf16() if gpu else cpu_has_bf16()
    if asked == "auto":
        return torch.bfloat16 if has_bf16 else torch.float16 if gpu else torch.float32
    if asked == "bfloat16" and not has_bf16:
        other = "float16" if gpu else "float32"
        warn(f"this {'GPU' if gpu else 'CPU'} does not compute in bfloat16; {other} is used. Set it to avoid this line.")
        return getattr(torch, other)
    if asked == "float16" and not gpu:
        warn("a CPU computes float16 slowly; float32 is used instead. Set it to avoid this line.")
        return torch.float32
    return getattr(torch, asked)
