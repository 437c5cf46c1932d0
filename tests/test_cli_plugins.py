"""`pillm plugins`: hostile plugins are named and do no harm."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillm.testing import installed_plugin

if TYPE_CHECKING:
    from tests.conftest import Cli

HOSTILE = {
    "raises": ("raise RuntimeError('no such luck')", "no such luck"),
    "exits": ("import sys; sys.exit(3)", "SystemExit"),
    "slow": ("import time; time.sleep(0.7)\n" + "from pillm.testing.fakes import pillm_filters", "took 0.7 s to import"),
    "misspelt": ("import pillm\n@pillm.hookimpl\ndef pillm_teecher(): return []", "pillm_teecher"),
    "refuses": ("import pillm\n@pillm.hookimpl\ndef pillm_teachers(): raise OSError('not today')", "not today"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_plugin_is_named_and_does_no_harm(
    cli: Cli, fakes: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    source, said = HOSTILE[case]
    monkeypatch.setenv("PILLM_PLUGINS", f"fakes {case}")
    with installed_plugin(tmp_path / "site", case, source):
        done = cli("plugins")
        assert done.code == 0
        assert said in done.out
        assert case in done.out
        assert cli("--help").err == ""
        assert cli("label", rows, "--teacher", "echo", "--out", tmp_path / "out").code == 0
        listed = {one["name"]: one for one in cli("plugins", "--json").json["plugins"]}
    assert bool(listed[case]["error"]) == (case != "slow")


def test_a_name_that_two_claim_is_told_and_can_be_chosen(
    cli: Cli, fakes: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILLM_PLUGINS", "fakes twin")
    with installed_plugin(tmp_path / "site", "twin", "from pillm.testing.fakes import pillm_teachers"):
        assert "teacher 'echo' is claimed by pillm-fakes and pillm-twin" in cli("plugins").out
        refused = cli("label", rows, "--teacher", "echo", "--out", tmp_path / "out")
        assert refused.code == 1
        assert "pillm-twin:echo" in refused.err
        assert cli("label", rows, "--teacher", "pillm-twin:echo", "--out", tmp_path / "out").code == 0
