"""What there is to know about the processor that decodes."""

from __future__ import annotations

import os
import platform
from pathlib import Path


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
