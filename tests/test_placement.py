"""Where a runner's models run."""

from __future__ import annotations

from pathlib import Path

from pillm.devices.detection import probe_machine
from pillm.machines import LocalMachine
from pillm.testing import TableRunner


def test_a_runner_says_what_machine_its_models_run_on() -> None:
    facts = TableRunner().probe()
    assert facts == probe_machine(LocalMachine())
    assert facts.ram_mib


def test_a_runner_has_no_files_to_time_a_machine_with_unless_it_says_so(tmp_path: Path) -> None:
    assert TableRunner().speed_files(tmp_path) == ()
