from __future__ import annotations

import pillm_llamacpp

from pillm.testing import check_plugin


def test_the_plugin_keeps_the_protocol_and_imports_nothing_heavy() -> None:
    found = sorted(cls.name for cls in check_plugin(pillm_llamacpp))
    assert found == ["gguf", "gguf", "local", "pi4", "pi4-emulated", "vulkan"]
