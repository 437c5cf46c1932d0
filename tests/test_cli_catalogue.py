"""What is installed, as plain data."""

from __future__ import annotations

from pathlib import Path

import pytest

from pillm.cli.catalogue import card, clashes, failures, installed, summary
from pillm.testing import EchoTeacher, installed_plugin


def test_every_backend_has_a_card(fakes: Path) -> None:
    cards = [card(*found) for found in installed()]
    assert all(one["description"].endswith(".") for one in cards)
    runner = next(one for one in cards if one["kind"] == "runner")
    assert runner["reads"] == ["checkpoint", "table"]
    assert summary(EchoTeacher) == "Answers from a script, else with the question itself."


def test_clashes_and_failures_are_found(fakes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILLM_PLUGINS", "fakes odd")
    source = "import pillm\nfrom pillm.testing.fakes import pillm_teachers\n"
    source += "@pillm.hookimpl\ndef pillm_runners(): raise SystemExit(3)\n"
    with installed_plugin(tmp_path, "odd", source):
        assert clashes() == [("teacher", "echo", ["pillm-fakes", "pillm-odd"])]
        assert failures() == {"odd": "pillm_runners: SystemExit: 3"}
