from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def shared(name: str) -> ModuleType:
    """Make a module that the tests share importable: they are imported by path themselves."""
    spec = importlib.util.spec_from_file_location(f"pillm_openai_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


asking = shared("asking")
shared("batchqueue")
shared("natives")
shared("hostile")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", asking.SECRET)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
