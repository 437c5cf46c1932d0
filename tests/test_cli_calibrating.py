"""Calibrating this machine from the command line; with a real runner it is in pillm-llamacpp's test_timefiles.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillm.cli import calibrating
from pillm.devices import device
from pillm.testing import TableRunner
from tests.test_calibration import BOARD, LARGE, MIDDLE, SMALL, timed

if TYPE_CHECKING:
    from tests.conftest import Cli


def test_a_runner_without_files_of_its_own_is_refused(cli: Cli, fakes: Path, tmp_path: Path) -> None:
    done = cli("plan", "--calibrate", tmp_path / "here.yaml", "--runner", TableRunner.name)
    assert done.code == 2
    assert "has no files of its own" in done.err
    assert not (tmp_path / "here.yaml").exists()


def test_a_profile_is_called_yaml(cli: Cli, fakes: Path, tmp_path: Path) -> None:
    done = cli("plan", "--calibrate", tmp_path / "here.txt", "--runner", TableRunner.name)
    assert done.code == 2
    assert "Call it here.yaml" in done.err


def test_what_timing_found_becomes_a_profile_that_plans(
    cli: Cli, fakes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timings(*_: object) -> Sequence[object]:
        return [timed(one, BOARD) for one in (SMALL, MIDDLE, LARGE)]

    monkeypatch.setattr(calibrating, "_timings", timings)
    out = tmp_path / "here.yaml"
    assert cli("plan", "--calibrate", out, "--runner", TableRunner.name, "--json").json == {"profile": str(out)}
    assert device(out).bandwidth_gbps == pytest.approx(BOARD.bandwidth_gbps, rel=0.02)
    config = tmp_path / "config.json"
    config.write_text(
        '{"model_type": "llama", "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8, "vocab_size": 9000,'
        '"num_attention_heads": 8, "num_key_value_heads": 2}'
    )
    found = cli("plan", config, "--calibrate", out, "--runner", TableRunner.name, "--json").json["plans"][0]
    assert found["device"] == "here"
    assert found["tg_tps"] > 0
