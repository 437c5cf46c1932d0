"""Profiles as files: what they may say of accelerators, matches and tables; the rest is in test_devices.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from pillm.devices import device
from pillm.devices.profilefile import read_profile
from pillm.errors import ConfigError


def nowhere(name: str, _seen: tuple[Path, ...]) -> Path:
    """Find no profile to extend."""
    raise ConfigError(f"no device is called {name!r}")


def test_a_file_needs_only_its_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("ram_mib: {value: 5, source: s, trust: 1}")
    found = read_profile(path, nowhere)
    assert (found.name, found.ram_mib, found.accelerators, found.match, found.calibrated) == ("x", 5, ("cpu",), None, False)


def test_tables_of_decode_are_read_beside_those_of_prefill(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("extends: pi5-8gb\ndecode_cycles: {source: me, trust: 3, Q3_K: 0.5}\n")
    found = device(path)
    assert (found.decode_cycles["Q3_K"], found.cycles["Q4_0"]) == (0.5, 0.088)
    assert found.decode_cycles["Q4_K"] == device("pi5-8gb").decode_cycles["Q4_K"]
    assert found.facts["decode_cycles.Q3_K"].source == "me"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("refused: [vulkan]", "refused must give a reason"),
        ("refused: {vulkan: 1}", "refused must give a reason"),
        ("match: {modle: [x]}", "match may say model"),
        ("match: {model: Pi}", "match.model must be a list of names"),
        ("match: {ram_mib: [1]}", "must be [least, most]"),
        ("match: {ram_mib: [a, b]}", "must be [least, most]"),
        ("match: {architecture: [arm]}", "a name as `uname -m` says it"),
        ("repacked: [Q4_0]", "needs a source"),
        ("repacked: {types: [Q4_X], source: s, trust: 3}", "'Q4_X', which is no storage type"),
        ("repacked: {source: s, trust: 3}", "repacked.types must be a list"),
        ("repacked: {types: [Q4_0], of: x, source: s, trust: 3}", "repacked must be written as"),
        ("decode_error: {value: 0, source: s, trust: 3}", "above 0"),
        ("swa_full: 1", "swa_full must be true or false"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"ram_mib: {{value: 5, source: s, trust: 1}}\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        read_profile(path, nowhere)
    assert reason in str(caught.value)


def test_a_profile_extends_a_file_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base.yaml").write_text("extends: pi4-4gb\nghz: {value: 2.0, source: overclocked, trust: 3}\n")
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\ntitle: mine\n")
    monkeypatch.chdir("/")
    found = device(tmp_path / "mine.yaml")
    assert (found.title, found.ghz, found.ram_mib) == ("mine", 2.0, device("pi4-4gb").ram_mib)


@pytest.mark.parametrize("parent", ["../base.yaml", "/etc/base.yaml", "sub/base.yaml", ".base.yaml"])
def test_what_a_profile_extends_never_leads_out_of_its_folder(tmp_path: Path, parent: str) -> None:
    (tmp_path / "base.yaml").write_text("extends: pi4-4gb")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mine.yaml").write_text(f"extends: {parent}")
    with pytest.raises(ConfigError, match="Name a file that lies beside it, without a folder"):
        device(tmp_path / "sub" / "mine.yaml")


def test_a_file_that_is_not_beside_it_and_a_circle_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml")
    with pytest.raises(ConfigError, match=r"a\.yaml extends 'b\.yaml', and no such file lies beside it"):
        device(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("extends: a.yaml")
    with pytest.raises(ConfigError, match="circle"):
        device(tmp_path / "a.yaml")
