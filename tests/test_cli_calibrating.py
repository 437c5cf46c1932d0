"""Calibrating this machine from the command line; with a real runner it is in pillm-llamacpp's test_timefiles.py."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from pydantic import Field

import pillm
from pillm.cli import calibrating
from pillm.cli.calibrating import Calibration, calibrated
from pillm.devices import device
from pillm.devices.calibration import Timing
from pillm.devices.repacking import repacked_by
from pillm.devices.speed import load_of, prefill_seconds
from pillm.errors import BackendError
from pillm.performance.preflight import Conditions
from pillm.testing import TableRunner
from tests.test_calibration import BOARD, FACTS, LARGE, MIDDLE, MINUTE, SMALL, TINY, profile_of, timed

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


class Timed(TableRunner):
    """A runner whose files take what a board of a known profile takes; what disturbs it is said by file and attempt."""

    name: ClassVar[str] = "timed"
    slow: dict[str, list[float]] = Field(default_factory=dict, description="Factors of the speeds of a file, run by run.")
    load: float = Field(0.1, description="Before it begins.")
    void: list[str] = Field([], description="Files whose measurements are always void.")
    repacks: bool | None = Field(None, description="Whether weights are held twice.")

    def speed_files(self, folder: Path) -> Sequence[pillm.ModelFile]:
        """Write the files of shapes that are known."""
        for name in SHAPES:
            (folder / f"{name}.gguf").write_bytes(name.encode() * (1 + list(SHAPES).index(name)))
        return [pillm.ModelFile.of(folder / f"{name}.gguf", "Q4_0") for name in SHAPES]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Calibration]:
    """Calibrate with speeds that a known board would have."""
    runs: Counter[str] = Counter()

    def bench(file: pillm.ModelFile, runner: Timed, *, plan: pillm.BenchPlan, progress: object) -> pillm.Benchmark:
        name = file.path.stem
        short, factors = timed(SHAPES[name], BOARD), runner.slow.get(name, [])
        factor = factors[runs[name]] if runs[name] < len(factors) else 1.0
        runs[name] += 1
        load = load_of(SHAPES[name])
        return pillm.Benchmark(
            model=file.label, device="d", basis="measured", threads=4, repack=runner.repacks, tg_tps=factor * short.tg_tps,
            pp_tps=factor * plan.pp / (prefill_seconds(load, BOARD, plan.pp) or 1.0),
            conditions=Conditions(load=runner.load), void=("prefill is spread by 30 %",) if name in runner.void else (),
        )  # fmt: skip

    monkeypatch.setattr(pillm, "bench", bench)
    monkeypatch.setattr(calibrating, "shape_of", lambda file: SHAPES[file.path.stem])
    monkeypatch.setattr(Timed, "probe", lambda _: replace(FACTS, isa=("asimddp",)))

    def run(folder: Path, **options: Any) -> Calibration:
        return calibrated(Timed(**options), folder, pillm.Progress())

    return run


def test_a_quiet_machine_is_trusted_and_its_error_is_told(here: Callable[..., Calibration], tmp_path: Path) -> None:
    found = here(tmp_path)
    assert found.disturbed == ()
    assert profile_of(found.text, tmp_path).facts["bandwidth_gbps"].trust == 3
    assert re.search(r"with 4 threads at most \d% in decode and \d% in prefill", str(found))


def test_a_busy_machine_is_trusted_least(here: Callable[..., Calibration], tmp_path: Path) -> None:
    found = here(tmp_path, load=1.3)
    assert found.disturbed == ("a load of 1.30 before it began, and 0.3 is quiet",)
    assert profile_of(found.text, tmp_path).facts["bandwidth_gbps"].trust == 1


def test_a_timing_that_was_disturbed_once_is_made_again(here: Callable[..., Calibration], tmp_path: Path) -> None:
    calm, shaken = here(tmp_path), here(tmp_path, slow={"tiny": [0.4, 0.5]})
    one, other = (profile_of(said.text, tmp_path) for said in (calm, shaken))
    assert other.bandwidth_gbps == pytest.approx(one.bandwidth_gbps, rel=1e-3)
    assert other.token_ms == pytest.approx(one.token_ms, rel=1e-2)
    assert shaken.disturbed == ()


def test_what_stays_void_is_said_and_what_stays_slow_is_refused(here: Callable[..., Calibration], tmp_path: Path) -> None:
    assert here(tmp_path, void=["small"]).disturbed == ("small.gguf: prefill is spread by 30 %",)
    with pytest.raises(BackendError, match="Close other programs and try again"):
        here(tmp_path, slow={"middle": [0.1] * 50})


@pytest.mark.parametrize(("said", "types"), [(True, True), (None, True), (False, False)])
def test_what_is_held_twice_is_what_the_runner_says(
    here: Callable[..., Calibration], tmp_path: Path, said: bool | None, types: bool
) -> None:
    found = profile_of(here(tmp_path, repacks=said).text, tmp_path)
    assert found.repacked == (repacked_by(("asimddp",)) if types else frozenset())


def test_what_timing_found_becomes_a_profile_that_plans(
    cli: Cli, fakes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timings(*_: object) -> Sequence[object]:
        return [Made(timed(one, BOARD)) for one in (SMALL, MIDDLE, LARGE)]

    monkeypatch.setattr(calibrating, "_timings", timings)
    out = tmp_path / "here.yaml"
    done = cli("plan", "--calibrate", out, "--runner", TableRunner.name, "--json")
    assert done.json == {"profile": str(out)}
    assert "How far the fit misses its own timings: " in done.err
    assert device(out).bandwidth_gbps == pytest.approx(BOARD.bandwidth_gbps, rel=0.02)
    config = tmp_path / "config.json"
    config.write_text(
        '{"model_type": "llama", "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8, "vocab_size": 9000,'
        '"num_attention_heads": 8, "num_key_value_heads": 2}'
    )
    found = cli("plan", config, "--calibrate", out, "--runner", TableRunner.name, "--json").json["plans"][0]
    assert found["device"] == "here"
    assert found["tg_tps"] > 0


class Made:
    """A timing that was made before."""

    disturbed, load, repack = (), None, None

    def __init__(self, timing: Timing) -> None:
        self.timing = timing
