from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from pillm_llamacpp import source
from pillm_llamacpp.exporter import GGUFExporter

import pillm


# the tests are imported by path: this makes the modules that they share importable
def _shared(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"pillm_llamacpp_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


tiny = _shared("tiny")
_shared("llamatools")
_shared("benching")


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
