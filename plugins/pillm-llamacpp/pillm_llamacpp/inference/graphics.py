"""The graphics processors of this machine as Vulkan lists them, inside a worker: drivers are known to crash."""

from __future__ import annotations

import ctypes
import ctypes.util
from contextlib import suppress
from typing import Any

from pillm_llamacpp.inference.devices import ggml

_LIBRARIES = ("libvulkan.so.1", "libvulkan.1.dylib", "vulkan-1.dll")
_CREATE_INFO = 1  # VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO
_PROPERTIES = 4096  # VkPhysicalDeviceProperties has 824 bytes today
_MOST = 64


class _InstanceInfo(ctypes.Structure):
    """VkInstanceCreateInfo."""

    _fields_ = (
        ("kind", ctypes.c_int), ("next", ctypes.c_void_p), ("flags", ctypes.c_uint32), ("application", ctypes.c_void_p),
        ("layer_count", ctypes.c_uint32), ("layers", ctypes.c_void_p), ("extension_count", ctypes.c_uint32),
        ("extensions", ctypes.c_void_p),
    )  # fmt: skip


class _Properties(ctypes.Structure):
    """The beginning of VkPhysicalDeviceProperties."""

    _fields_ = (
        ("api", ctypes.c_uint32), ("driver", ctypes.c_uint32), ("vendor", ctypes.c_uint32), ("device", ctypes.c_uint32),
        ("kind", ctypes.c_int), ("name", ctypes.c_char * 256), ("rest", ctypes.c_char * _PROPERTIES),
    )  # fmt: skip


def graphics() -> dict[str, Any]:
    """Return whether llama.cpp was `built` for Vulkan, and the `devices` in Vulkan's order, as (name, vendor, kind)."""
    library = ggml()
    built = library is not None and hasattr(library, "ggml_backend_vk_reg")
    return {"built": built, "devices": _devices()}


def _devices() -> list[tuple[str, int, int]]:
    vulkan = _vulkan()
    if vulkan is None:
        return []
    instance, info = ctypes.c_void_p(), _InstanceInfo(kind=_CREATE_INFO)
    if vulkan.vkCreateInstance(ctypes.byref(info), None, ctypes.byref(instance)):
        return []
    try:
        count = ctypes.c_uint32(_MOST)
        found = (ctypes.c_void_p * _MOST)()
        if vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), found) < 0:
            return []
        return [_told(vulkan, found[index]) for index in range(count.value)]
    finally:
        vulkan.vkDestroyInstance(instance, None)


def _told(vulkan: Any, device: int | None) -> tuple[str, int, int]:
    properties = _Properties()
    vulkan.vkGetPhysicalDeviceProperties(ctypes.c_void_p(device), ctypes.byref(properties))
    return properties.name.decode("utf-8", "replace"), properties.vendor, properties.kind


def _vulkan() -> Any:
    for name in (*_LIBRARIES, ctypes.util.find_library("vulkan")):
        if name is not None:
            with suppress(OSError):
                return ctypes.CDLL(name)
    return None
