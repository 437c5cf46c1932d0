"""llama.cpp for pillm: exporter `gguf`, teacher `gguf`, runners `local`, `vulkan`, `pi4` and `pi4-emulated`."""

from __future__ import annotations

from pillm import hookimpl


@hookimpl
def pillm_exporters() -> list[type]:
    """Return the exporter `gguf`."""
    from pillm_llamacpp.exporter import GGUFExporter

    return [GGUFExporter]


@hookimpl
def pillm_runners() -> list[type]:
    """Return the runners `local`, `vulkan`, `pi4` and `pi4-emulated`."""
    from pillm_llamacpp.boards.emulated import EmulatedRunner
    from pillm_llamacpp.boards.pi4 import Pi4Runner
    from pillm_llamacpp.runner import LocalRunner, VulkanRunner

    return [LocalRunner, VulkanRunner, Pi4Runner, EmulatedRunner]


@hookimpl
def pillm_teachers() -> list[type]:
    """Return the teacher `gguf`."""
    from pillm_llamacpp.teacher import GGUFTeacher

    return [GGUFTeacher]
