"""What there is to know about the processor that decodes, and the memory beside it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

_SMALL = 64 << 20
_SIZES = {"VmHWM:": "peak", "Pss:": "pss", "RssAnon:": "anonymous", "RssFile:": "file"}


def physical_cores() -> int:
    """Return the cores that this process may use, hyper-threads counted once where that can be told."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    seen = set()
    for cpu in usable:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            seen.add(path.read_text("ascii").strip())
        except OSError:
            return len(usable)
    return len(seen)


def cpu_name() -> str:
    """Return what the processor, or on a single-board computer the board, is called."""
    for path, key in ((Path("/proc/device-tree/model"), None), (Path("/proc/cpuinfo"), "model name")):
        try:
            text = path.read_text("utf-8", "replace")
        except OSError:
            continue
        if key is None:
            return text.strip("\0\n ")
        for line in text.splitlines():
            if line.startswith(key):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def memory_sizes(*texts: str) -> dict[str, int]:
    """Return the bytes of memory that a process takes, by kind, from its `status` and `smaps_rollup` in /proc."""
    lines = (line.split() for text in texts for line in text.splitlines())
    return {_SIZES[words[0]]: int(words[1]) * 1024 for words in lines if len(words) > 1 and words[0] in _SIZES}


def free_memory(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes of memory that this process may still take: what is free, or what a container's limit leaves."""
    return min([_available(proc), *_left_by_limits(proc, groups)])


def prefers_huge_pages(size: int, free: int, system: Path = Path("/sys/kernel/mm")) -> bool:
    """Say whether weights of so many bytes are better copied into huge pages than mapped from their file.

    Each token reads all of them, and looking up small pages takes some percent of that time. But a copy cannot be given back
    where memory grows scarce, so that it must leave half of `free` bytes alone. A small file's pages are looked up soon.
    """
    try:
        offered = (system / "transparent_hugepage" / "enabled").read_text("ascii", "replace")
    except OSError:
        return False
    return "[never]" not in offered and _SMALL <= size <= free // 2


def _available(proc: Path) -> int:
    try:
        for line in (proc / "meminfo").read_text("ascii", "replace").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    # this system does not say what is free
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _left_by_limits(proc: Path, groups: Path) -> Iterator[int]:
    """Yield what is left under the limit of each control group that this process is in."""
    try:
        own = next(line[3:] for line in (proc / "self/cgroup").read_text("utf-8").splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return
    folder = groups / own.strip("/")
    for group in (folder, *folder.parents):
        try:
            limit, used = (int((group / f"memory.{name}").read_text("ascii")) for name in ("max", "current"))
            stat = dict(line.split() for line in (group / "memory.stat").read_text("ascii").splitlines())
        except (OSError, ValueError):  # no control group, or one without a limit
            continue
        # cached files are given up when memory is wanted
        yield limit - used + int(stat.get("file", 0))
