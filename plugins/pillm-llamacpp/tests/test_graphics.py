from __future__ import annotations

import subprocess

from pillm_llamacpp.workers.client import Worker
from pillm_llamacpp_boardtools import need


def test_the_devices_are_those_that_vulkan_lists() -> None:
    with Worker("looking") as worker:
        found = worker.ask(op="graphics")
    assert isinstance(found["built"], bool)
    need("vulkaninfo")
    told = subprocess.run(["vulkaninfo", "--summary"], capture_output=True, text=True, check=False).stdout
    names = [line.partition("=")[2].strip() for line in told.splitlines() if line.strip().startswith("deviceName")]
    assert [name for name, _, _ in found["devices"]] == names


def test_a_worker_sees_no_graphics_processor_unless_it_is_given_one() -> None:
    with Worker("looking") as worker:
        backends = [backend for backend, _, _ in worker.ask(op="devices")["devices"]]
    assert "CPU" in backends
    assert not any(backend.lower().startswith("vulkan") for backend in backends)
