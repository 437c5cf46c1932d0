from __future__ import annotations

import fcntl
import importlib.util
import os
import pickle
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pillm_llamacpp import source
from pillm_llamacpp.converting import conversion as convert
from pillm_llamacpp.converting.conversion import Converted
from pillm_llamacpp.exporter import GGUFExporter
from pillm_llamacpp.gates import parity
from pillm_llamacpp.gates.checks import Findings, check

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
for _name in ("llamatools", "zoo", "students", "benching", "boardtools", "boardbenching", "loopback", "walks", "headers"):
    _shared(_name)


@pytest.fixture(scope="session", autouse=True)
def _source() -> None:
    source.fetch()


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> Any:
    """Return what `make` gives for a folder of that name; it is made once for all the processes of a test run."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    kept = root / f"{name}.pickle"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.is_file():
            (root / name).mkdir()
            kept.write_bytes(pickle.dumps(make(root / name)))
    return pickle.loads(kept.read_bytes())


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> pillm.Checkpoint:
    """Return a model of 256 wide rows with probes and a contract; tests that change it take a copy."""
    return once(tmp_path_factory, "trained", lambda folder: tiny.write_model(folder / "tiny"))


@pytest.fixture(scope="session")
def exported(checkpoint: pillm.Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pillm.ModelFile]:
    """Return the default quantisations of the tiny model; tests that change one take a copy."""

    def make(out: Path) -> dict[str, pillm.ModelFile]:
        return {
            model.quant: model for model in GGUFExporter(file_name="tiny").export(checkpoint, out, pillm.Progress("export"))
        }

    return once(tmp_path_factory, "exported", make)


@pytest.fixture(scope="session")
def gguf(exported: dict[str, pillm.ModelFile]) -> pillm.ModelFile:
    return exported["Q8_0"]


@pytest.fixture(scope="session")
def proof(checkpoint: pillm.Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Converted, Findings]:
    """Return the tiny model's file in full precision, what the converter's child learnt, and what the checks found."""

    def make(work: Path) -> tuple[Path, Converted, Findings]:
        full, told = work / "tiny-F16.gguf", check(checkpoint, source.require())
        job = convert.Conversion(
            tree=str(source.require()), model=str(checkpoint.path), outfile=str(full), outtype="f16", pre=None,
            derived=told.pre, stops=told.stops, rows=8,
        )  # fmt: skip
        return full, convert.run(job, map(parity.asked, parity.rows_of(checkpoint)), work, pillm.Progress()), told

    return once(tmp_path_factory, "proof", make)


@pytest.fixture
def board(tmp_path: Path) -> Any:
    """Return a recorded Raspberry Pi for the scripts of rpi4/."""
    return sys.modules["pillm_llamacpp_boardtools"].Board(tmp_path)


@pytest.fixture
def hub() -> Iterator[Any]:
    sys.modules["pillm_llamacpp_boardtools"].need("curl")
    made = sys.modules["pillm_llamacpp_loopback"].Hub()
    thread = threading.Thread(target=partial(made.server.serve_forever, poll_interval=0.02), daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def served(board: Any) -> Any:
    """Return a board with a model named `assistant`, and a llama-server that prints what it was given."""
    tools = sys.modules["pillm_llamacpp_boardtools"]
    models = board.root / "var" / "lib" / "pillm" / "models"
    models.mkdir(parents=True)
    shutil.copyfile(tools.RPI4 / "selftest" / "tiny.gguf", models / "assistant.gguf")
    (board.root / "etc" / "pillm" / "serve.d").mkdir(parents=True)
    (board.root / "etc" / "default").mkdir()
    tools.stand_in(board.programs / "bin" / "llama-server", 'env\nprintf "%s\\n" "$@"')
    return board
