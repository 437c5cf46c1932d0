from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from pillm_llamacpp import source
from pillm_llamacpp.exporter import GGUFExporter

import pillm

# the tests are imported by path: this makes the module that they share importable
_spec = importlib.util.spec_from_file_location("pillm_llamacpp_tiny", Path(__file__).with_name("tiny.py"))
assert _spec
assert _spec.loader
tiny = importlib.util.module_from_spec(_spec)
sys.modules["pillm_llamacpp_tiny"] = tiny
_spec.loader.exec_module(tiny)


@pytest.fixture(scope="session", autouse=True)
def _source() -> None:
    source.fetch()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> pillm.Checkpoint:
    """Return a model of 256 wide rows with probes and a contract; tests that change it take a copy."""
    return tiny.write_model(tmp_path_factory.mktemp("trained") / "tiny")


@pytest.fixture(scope="session")
def exported(checkpoint: pillm.Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pillm.ModelFile]:
    """Return the default quantisations of the tiny model."""
    out = tmp_path_factory.mktemp("exported")
    return {model.quant: model for model in GGUFExporter().export(checkpoint, out, pillm.Progress("export"))}


@pytest.fixture(scope="session")
def gguf(exported: dict[str, pillm.ModelFile]) -> pillm.ModelFile:
    return exported["Q8_0"]
