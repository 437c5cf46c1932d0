"""`pillm doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillm.cli.checkup import Finding

if TYPE_CHECKING:
    from tests.conftest import Cli


def test_a_sound_machine_ends_with_0(cli: Cli, fakes: Path) -> None:
    done = cli("doctor", "--json")
    assert done.code == 0
    assert done.json["healthy"] is True
    assert {"python", "machine", "disk", "plugin fakes"} <= {one["name"] for one in done.json["checks"]}


@pytest.mark.parametrize("state", ["missing", "broken"])
def test_what_is_missing_ends_with_4_and_a_remedy(cli: Cli, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    found = Finding("torch", state, "pillm-hf needs it", "pip install torch")  # type: ignore[arg-type]
    monkeypatch.setattr("pillm.cli.doctor_command.checks", lambda: iter([found]))
    done = cli("doctor")
    assert done.code == 4
    assert "-> pip install torch" in done.out


def test_a_note_is_no_fault(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pillm.cli.doctor_command.checks", lambda: iter([Finding("disk", "note", "1 GiB free", "Free some.")]))
    assert cli("doctor").code == 0
