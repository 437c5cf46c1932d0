"""Calibrating this machine from the command line; with a real runner it is in pillm-llamacpp's test_timefiles.py."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from pydantic import Field

import pillm
from pillm.cli.calibrating import Calibration, calibrated
from pillm.devices import device
from pillm.devices.quants import TYPE_OF_ID
from pillm.devices.repacking import repacked_by
from pillm.devices.shapes import ModelShape, shape_of
from pillm.devices.speed import decode_seconds, load_of, prefill_seconds
from pillm.errors import BackendError
from pillm.machines import LocalMachine
from pillm.performance.timer import Hosted
from pillm.testing import TableRunner
from pillm.testing.fakes import TableSession
from pillm.testing.ggufs import gguf
from tests.test_calibration import BOARD, FACTS, LARGE, MIDDLE, MINUTE, SMALL, TINY, profile_of

if TYPE_CHECKING:
    from tests.conftest import Cli


SHAPES = {"minute": MINUTE, "tiny": TINY, "small": SMALL, "middle": MIDDLE, "large": LARGE}


def test_a_runner_without_files_of_its_own_is_refused(cli: Cli, fakes: Path, tmp_path: Path) -> None:
    done = cli("plan", "--calibrate", tmp_path / "here.yaml", "--runner", TableRunner.name)
    assert done.code == 2
    assert "has no files of its own" in done.err
    assert not (tmp_path / "here.yaml").exists()


def test_a_profile_is_called_yaml(cli: Cli, fakes: Path, tmp_path: Path) -> None:
    done = cli("plan", "--calibrate", tmp_path / "here.txt", "--runner", TableRunner.name)
    assert done.code == 2
    assert "Call it here.yaml" in done.err


class BoardRunner(TableRunner):
    """A runner whose files take what they would on a board of a known profile; what disturbs it is told file by file."""

    name: ClassVar[str] = "board"
    slow: dict[str, list[float]] = Field(default_factory=dict, description="Factors of the speeds of a file, run by run.")
    uneven: list[str] = Field([], description="Files whose prefill is never the same twice.")
    load: float = Field(0.1, description="Of the machine before anything is timed.")
    repacks: bool | None = Field(None, description="Whether weights are held twice.")

    def probe(self) -> pillm.DeviceFacts:
        """Return what the board is."""
        return replace(FACTS, isa=("asimddp",))

    def speed_files(self, folder: Path) -> Sequence[pillm.ModelFile]:
        """Write files with holes: their heads tell the shape, and nothing reads the rest."""
        for name, shape in SHAPES.items():
            write_shape(folder / f"{name}.gguf", shape)
        paths = [folder / f"{name}.gguf" for name in SHAPES]
        return [pillm.ModelFile(path=one, quant="Q4_0", bytes=one.stat().st_size, sha256="0" * 64) for one in paths]

    def open(self, model: pillm.ModelFile | pillm.Checkpoint) -> pillm.Session:
        """Open a file that was written."""
        return BoardSession(self, model.path)


class BoardSession(TableSession, Hosted):
    """A file of the board, and the machine that it lies on."""

    def __init__(self, runner: BoardRunner, path: Path) -> None:
        super().__init__({}, path.name)
        self._runner, self._path = runner, path

    def machine(self) -> LocalMachine:
        """Return a machine that keeps its load where Linux keeps it."""
        proc = self._path.parent / "proc"
        proc.mkdir(exist_ok=True)
        (proc / "loadavg").write_text(f"{self._runner.load} 0.0 0.0 1/1 1\n")
        return LocalMachine("the board", self._path.parent)

    def bench(self, plan: pillm.BenchPlan) -> pillm.Benchmark:
        """Return the speeds that the board has, less what disturbs this run of this file."""
        name, load = self._path.stem, load_of(shape_of(self._path))
        runs = self._path.with_suffix(".runs")
        ran = len(runs.read_text()) if runs.exists() else 0
        runs.write_text("." * (ran + 1))
        factors = self._runner.slow.get(name, [])
        factor = factors[ran] if ran < len(factors) else 1.0
        prefill = factor * plan.pp / (prefill_seconds(load, BOARD, plan.pp) or 1.0)
        spread = [prefill, 0.7 * prefill] if name in self._runner.uneven else [prefill] * 2
        return pillm.Benchmark(
            model=name, device="d", basis="measured", threads=4, repack=self._runner.repacks, pp=plan.pp, tg=plan.tg,
            tg_tps=factor / (decode_seconds(load, BOARD) or 1.0), pp_tps=prefill, samples={"pp_tps": spread},
        )  # fmt: skip


def write_shape(path: Path, shape: ModelShape) -> None:
    """Write the head of a file of that shape, and a hole as long as its weights."""
    ids = {name: number for number, name in TYPE_OF_ID.items()}
    about = {
        "general.architecture": "llama", "llama.block_count": shape.layers, "llama.embedding_length": shape.hidden,
        "llama.attention.head_count": shape.heads, "llama.feed_forward_length": shape.feed_forward,
        "llama.attention.head_count_kv": shape.kv_per_token // shape.layers // 2 // shape.head_size,
    }  # fmt: skip
    tensors, offset = [], 0
    for one in shape.tensors:
        tensors.append((one.name, one.shape, ids[one.type], offset))
        offset += -(-one.bytes // 32) * 32
    with path.open("wb") as file:
        file.write(gguf(about, tensors))
        file.truncate(file.tell() + offset)


def here(folder: Path, **options: Any) -> Calibration:
    """Calibrate the board."""
    for old in folder.glob("*.runs"):
        old.unlink()
    return calibrated(BoardRunner(**options), folder, pillm.Progress())


def test_a_quiet_machine_is_trusted_and_its_error_is_told(tmp_path: Path) -> None:
    found = here(tmp_path)
    assert found.disturbed == ()
    assert profile_of(found.text, tmp_path).facts["bandwidth_gbps"].trust == 3
    assert re.search(r"with 4 threads at most \d% in decode and \d% in prefill", str(found))


def test_a_busy_machine_is_trusted_least(tmp_path: Path) -> None:
    found = here(tmp_path, load=1.3)
    assert found.disturbed == ("a load of 1.30 before it began, and 0.3 is quiet",)
    assert profile_of(found.text, tmp_path).facts["bandwidth_gbps"].trust == 1


def test_a_timing_that_was_disturbed_once_is_made_again(tmp_path: Path) -> None:
    calm, shaken = here(tmp_path), here(tmp_path, slow={"tiny": [0.4, 0.5]})
    one, other = (profile_of(said.text, tmp_path) for said in (calm, shaken))
    assert other.bandwidth_gbps == pytest.approx(one.bandwidth_gbps, rel=1e-3)
    assert other.token_ms == pytest.approx(one.token_ms, rel=1e-2)
    assert shaken.disturbed == ()


def test_what_stays_void_is_said_and_what_stays_slow_is_refused(tmp_path: Path) -> None:
    assert here(tmp_path, uneven=["small"]).disturbed == ("small.gguf: prefill is spread by 25.0%, more than 10.0%",)
    with pytest.raises(BackendError, match="Close other programs and try again"):
        here(tmp_path, slow={"middle": [0.1] * 50})


@pytest.mark.parametrize(("said", "types"), [(None, True), (False, False)])
def test_what_is_held_twice_is_what_the_runner_says(tmp_path: Path, said: bool | None, types: bool) -> None:
    found = profile_of(here(tmp_path, repacks=said).text, tmp_path)
    assert found.repacked == (repacked_by(("asimddp",)) if types else frozenset())


def test_what_timing_found_becomes_a_profile_that_plans(
    cli: Cli, fakes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pillm, "runner", lambda _name, **options: BoardRunner(**options))
    out = tmp_path / "here.yaml"
    done = cli("plan", "--calibrate", out, "--runner", TableRunner.name, "--json")
    assert done.json == {"profile": str(out)}
    assert "How far the fit misses its own timings: with 4 threads at most " in done.err
    assert device(out).bandwidth_gbps == pytest.approx(BOARD.bandwidth_gbps, rel=0.02)
    config = tmp_path / "config.json"
    config.write_text(
        '{"model_type": "llama", "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8, "vocab_size": 9000,'
        '"num_attention_heads": 8, "num_key_value_heads": 2}'
    )
    found = cli("plan", config, "--calibrate", out, "--runner", TableRunner.name, "--json").json["plans"][0]
    assert found["device"] == "here"
    assert found["tg_tps"] > 0
