from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from pillm_llamacpp import source
from pillm_llamacpp.converting import conversion as convert
from pillm_llamacpp.converting.conversion import Converted
from pillm_llamacpp.exporter import GGUFExporter
from pillm_llamacpp.gates import parity
from pillm_llamacpp.gates.checks import Findings, check

import pillm

# the tests are imported by path: this makes the modules that they share importable
for _name in ("tiny", "zoo"):
    _spec = importlib.util.spec_from_file_location(f"pillm_llamacpp_{_name}", Path(__file__).with_name(f"{_name}.py"))
    assert _spec
    assert _spec.loader
    sys.modules[f"pillm_llamacpp_{_name}"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[f"pillm_llamacpp_{_name}"])
tiny = sys.modules["pillm_llamacpp_tiny"]


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


@pytest.fixture(scope="session")
def proof(checkpoint: pillm.Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Converted, Findings]:
    """Return the tiny model's file in full precision, what the converter's child learnt, and what the checks found."""
    work = tmp_path_factory.mktemp("proof")
    told = check(checkpoint, source.require())
    job = convert.Conversion(
        tree=str(source.require()), model=str(checkpoint.path), outfile=str(work / "tiny-F16.gguf"), outtype="f16", pre=None,
        derived=told.pre, stops=told.stops, rows=8,
    )  # fmt: skip
    made = convert.run(job, map(parity.asked, parity.rows_of(checkpoint)), work, pillm.Progress())
    return work / "tiny-F16.gguf", made, told
