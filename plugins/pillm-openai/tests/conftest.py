from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

# the tests are imported by path: this makes the module that they share importable
_spec = importlib.util.spec_from_file_location("pillm_openai_asking", Path(__file__).with_name("asking.py"))
assert _spec
assert _spec.loader
asking = importlib.util.module_from_spec(_spec)
sys.modules["pillm_openai_asking"] = asking
_spec.loader.exec_module(asking)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", asking.SECRET)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
