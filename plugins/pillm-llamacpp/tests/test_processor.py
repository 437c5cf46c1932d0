"""llama.cpp says for what processor it was built."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from pillm_llamacpp.inference import processor


def test_what_is_in_use_is_told_and_weights_are_repacked_unless_tiles_forbid_it() -> None:
    """llama.cpp is asked in a process of its own, as everywhere."""
    code = "import json; from pillm_llamacpp.inference import processor as p; "
    code += "print(json.dumps([p.features(), p.built_with_tiles(), p.repacks()]))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    features, tiles, repacks = json.loads(said)
    assert features.startswith("CPU : ")
    assert tiles == ("AMX_INT8 = 1" in features)
    assert repacks == ("REPACK = 1" in features and not tiles)


@pytest.mark.parametrize(
    ("features", "repacks"), [("CPU : REPACK = 1", True), ("CPU : AMX_INT8 = 1 | REPACK = 1", False), ("CPU : NEON = 1", False)]
)
def test_tiles_and_a_build_without_it_repack_nothing(monkeypatch: pytest.MonkeyPatch, features: str, repacks: bool) -> None:
    monkeypatch.setattr(processor, "features", lambda: features)
    processor.built_with_tiles.cache_clear()
    try:
        assert processor.repacks() == repacks
    finally:
        processor.built_with_tiles.cache_clear()
