"""The checks of the doctor."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pillm.cli import checkup
from pillm.cli.checkup import checks
from pillm.testing import installed_plugin


def states() -> dict[str, checkup.Finding]:
    """Return the findings by name."""
    return {found.name: found for found in checks()}


def test_no_plugin_at_all_is_missing_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILLM_PLUGINS", "")
    found = states()["plugins"]
    assert found.state == "missing"
    assert "pip install" in found.remedy


@pytest.mark.parametrize(
    ("source", "state", "said"),
    [
        ("raise RuntimeError('no luck')", "broken", "no luck"),
        ("import pillm\n@pillm.hookimpl\ndef pillm_teachers(): raise OSError('not today')", "broken", "not today"),
        ("import time; time.sleep(0.7)\nfrom pillm.testing.fakes import pillm_filters", "note", "to import"),
    ],
)
def test_a_plugin_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, state: str, said: str) -> None:
    monkeypatch.setenv("PILLM_PLUGINS", "odd")
    with installed_plugin(tmp_path, "odd", source):
        found = states()["plugin odd"]
    assert (found.state, said in found.detail) == (state, True)


def test_two_plugins_with_one_name_are_noted(fakes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILLM_PLUGINS", "fakes twin")
    with installed_plugin(tmp_path, "twin", "from pillm.testing.fakes import pillm_teachers"):
        assert "pillm-fakes:echo" in states()["teacher echo"].remedy


@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("import nosuch_module", "missing"),
        ("import os; os.abort()", "broken"),
        ("import time; time.sleep(60)", "broken"),
        ("pass", "broken"),
        ("print('welcome')", "broken"),
        ("print('{')", "broken"),
        ('print(\'{"version": "1", "gpu": null, "bf16": false, "threads": 2}\')', "ok"),
    ],
)
def test_a_library_is_loaded_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch, code: str, state: str) -> None:
    monkeypatch.setitem(checkup.PROBES, "torch", code)
    monkeypatch.setattr(checkup, "PROBE_SECONDS", 1 if "sleep" in code else 20)
    found = checkup._library("torch", "pillm-hf")
    assert found.state == state
    assert (found.remedy == "") == (state == "ok")


@pytest.mark.parametrize(
    ("script", "state"),
    [("echo /there", "ok"), ("echo 'not fetched' >&2; exit 4", "missing"), ("exec sleep 60", "broken")],
)
def test_the_converter_is_asked_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, state: str) -> None:
    tool = tmp_path / "pillm-llamacpp"
    tool.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    tool.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(checkup, "PROBE_SECONDS", 1 if "sleep" in script else 20)
    assert [found.state for found in checkup._converter()] == [state]
