"""Tell that memory ran out, which torch says in several ways, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import sysconf
from pathlib import Path

import pillm

_SAID = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on a GPU or on a CPU."""
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).casefold() for words in _SAID)


def give_back() -> None:
    """Hand the memory that torch keeps for later back to the GPU."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def free_bytes(device: str) -> int | None:
    """Return the bytes of memory that are free on a device ("cuda", "cpu"); None where it cannot be told."""
    import torch

    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text("ascii", "replace").splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) * 1024
    return None


def most_bytes(device: str) -> int:
    """Return the most memory that this process took so far: of the GPU where it computes there, else its resident set."""
    import resource

    import torch

    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def resident_bytes() -> int:
    """Return the bytes of this process that are in memory now; 0 where it cannot be told."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * sysconf("SC_PAGE_SIZE")
    return 0


@contextmanager
def told(batch_size: int, accumulation: int) -> Iterator[None]:
    """Turn running out of memory in a training into a BackendError that says which options to change."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        fewer = next((rows for rows in range(batch_size // 2, 0, -1) if batch_size % rows == 0), 1)
        smaller = (
            f"Set per_device_train_batch_size={fewer} and gradient_accumulation_steps={accumulation * batch_size // fewer}, "
            "which learns the same, or "
            if batch_size > 1
            else "Set a smaller max_length, or "
        )
        raise pillm.BackendError(
            f"memory ran out with per_device_train_batch_size={batch_size}; nothing was saved. {smaller}"
            "set gradient_checkpointing=true, which takes more time and less memory."
        ) from error
