"""llama.cpp for pillm: exporter `gguf`, teacher `gguf`, runners `local`, `vulkan` and `pi4`."""

from __future__ import annotations

from pillm import hookimpl


@hookimpl
def pillm_exporters() -> list[type]:
    """Return the exporter `gguf`."""
    from pillm_llamacpp.exporter import GGUFExporter

    return [GGUFExporter]


@hookimpl
def pillm_runners() -> list[type]:
    """Return the runners `local`, `vulkan` and `pi4`."""
    from pillm_llamacpp.boards.pi4 import Pi4Runner
    from pillm_llamacpp.runner import LocalRunner, VulkanRunner

    return [LocalRunner, VulkanRunner, Pi4Runner]


@hookimpl
def pillm_teachers() -> list[type]:
    """Return the teacher `gguf`."""
    from pillm_llamacpp.teacher import GGUFTeacher

    return [GGUFTeacher]
