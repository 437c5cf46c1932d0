"""Whether the installed llama.cpp can use Vulkan, and on what."""

from __future__ import annotations

import pillm
from pillm_llamacpp.workers.client import Worker

REMEDY = (
    "CMAKE_ARGS=-DGGML_VULKAN=on pip install --force-reinstall --no-cache-dir --no-binary llama-cpp-python "
    "llama-cpp-python==0.3.36"
)


def require_vulkan() -> str:
    """Return the name of the first Vulkan device; raise MissingDependency with the remedy where there is none."""
    with Worker("looking for Vulkan devices") as worker:
        devices = worker.ask(op="devices")["devices"]
    for backend, name, _ in devices:
        if backend.lower().startswith("vulkan"):
            return str(name)
    seen = ", ".join(f"{name} ({backend})" for backend, name, _ in devices) or "no device at all"
    raise pillm.MissingDependency(
        f"the installed llama.cpp cannot use Vulkan: it sees {seen}. Runner 'local' works without. If this machine has a "
        f"graphics driver with Vulkan, build llama.cpp for it: {REMEDY}"
    )
