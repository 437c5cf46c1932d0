"""Tell that memory ran out, which torch says in several ways, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    found = [free for free in (_machines_free(), _containers_free(), _processes_free()) if free is not None]
    return max(0, min(found)) if found else None


def _machines_free() -> int | None:
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text("ascii", "replace").splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) * 1024
    return None


def _containers_free(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return what a container's limit leaves, cached files counted as free; None without a limit."""
    with suppress(OSError, ValueError):
        most = int((root / "memory.max").read_text("ascii"))  # "max" where there is none
        said = dict(line.split() for line in (root / "memory.stat").read_text("ascii").splitlines())
        return most - int((root / "memory.current").read_text("ascii")) + int(said.get("inactive_file", 0))
    return None


def _processes_free() -> int | None:
    """Return what limits on this process's address space and data leave (`ulimit -v`, `ulimit -d`); None without any."""
    import resource

    found = []
    with suppress(OSError, ValueError):
        said = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("utf-8", "replace").splitlines())
        for limit, taken in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
            most = resource.getrlimit(limit)[0]
            if most != resource.RLIM_INFINITY and taken in said:
                found.append(most - int(said[taken].split()[0]) * 1024)
    return min(found, default=None)


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
def told(what: Callable[[], str]) -> Iterator[None]:
    """Turn running out of memory into a BackendError that says what was lost and which options would fit."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        said = what()
        raise pillm.BackendError(said) from error
