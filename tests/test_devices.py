"""Device profiles: data files, each figure with its source."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.artifacts import DeviceFacts
from pillm.devices import DeviceProfile, device, device_names, mismatch, sound_devices
from pillm.devices.quants import BLOCKS, QUANTS
from pillm.errors import ConfigError

PROMISED = ["pi4-2gb", "pi4-4gb", "pi4-8gb", "pi5-4gb", "pi5-8gb", "orangepi5", "generic-x86", "generic-arm64"]
OWN = """\
extends: pi4-4gb
title: my board
ram_mib: {value: 1000, source: measured, trust: 3}
bandwidth_gbps: {value: 3, source: measured, trust: 3}
cycles: {source: measured, trust: 3, Q4_K: 0.4}
"""


def test_the_promised_profiles_are_there() -> None:
    assert set(device_names()) >= set(PROMISED)


@pytest.mark.parametrize("name", PROMISED)
def test_every_profile_loads_and_every_figure_has_a_source_and_trust(name: str) -> None:
    profile = device(name)
    figures = {"ram_mib", "reserve_mib", "runtime_mib", "context", "ubatch"}
    assert figures <= profile.facts.keys()
    assert all(fact.source and fact.trust in (1, 2, 3) for fact in profile.facts.values())
    assert all(f"cycles.{type_}" in profile.facts for type_ in profile.cycles)
    assert profile.cycles.keys() <= BLOCKS.keys()
    assert {*profile.quants, *profile.quants_if_not_256, *profile.avoid} <= QUANTS.keys()


def test_bigger_boards_have_more_memory_and_the_same_speed() -> None:
    small, middle, big = (device(f"pi4-{size}gb") for size in (2, 4, 8))
    assert small.ram_mib < middle.ram_mib < big.ram_mib
    assert small.bandwidth_gbps == middle.bandwidth_gbps == big.bandwidth_gbps == 3.65


def test_this_computer_has_its_own_memory_and_no_speed_until_it_is_measured() -> None:
    profile = device("generic-x86")
    assert profile.ram_mib == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    assert not profile.calibrated


def test_an_unknown_device_is_told_what_was_meant_and_how_to_add_one() -> None:
    with pytest.raises(ConfigError, match=r"no device is called 'pi4-4g'\. Did you mean 'pi4-4gb'\?.*PILLM_DEVICES"):
        device("pi4-4g")


@pytest.mark.parametrize("name", ["families/pi4", "../errors", "pi4", "", ".", "a" * 100])
def test_a_name_never_chooses_a_path_and_a_family_is_no_device(name: str) -> None:
    with pytest.raises(ConfigError):
        device(name)


def test_a_profile_of_ones_own_extends_another(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(OWN)
    profile = device(tmp_path / "mine.yaml")
    assert (profile.name, profile.title, profile.ram_mib, profile.bandwidth_gbps) == ("mine", "my board", 1000, 3.0)
    assert profile.layer_ms == 0.2095, "the rest is inherited"
    assert (profile.cycles["Q4_K"], profile.cycles["Q8_0"]) == (0.4, 0.566), "tables are inherited row by row"
    assert (profile.facts["cycles.Q4_K"].source, profile.facts["cycles.IQ4_XS"].trust) == ("measured", 1), "and so are sources"


def test_the_folder_of_the_environment_is_looked_in_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text(OWN)
    (tmp_path / "pi5-8gb.yaml").write_text(OWN)
    monkeypatch.setenv("PILLM_DEVICES", str(tmp_path))
    assert "mine" in device_names()
    assert device("mine").ram_mib == device("pi5-8gb").ram_mib == 1000
    monkeypatch.setenv("PILLM_DEVICES", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="not a folder"):
        device("mine")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- 1", "holds no table"),
        ("ram_mb: 3", "Did you mean 'ram_mib'"),
        ("title: x", "does not say ram_mib"),
        ("ram_mib: 4000", "must be written as"),
        ("ram_mib: {value: 4000, source: me, trust: 4}", "needs a source"),
        ("ram_mib: {value: -1, source: me, trust: 1}", "above 0"),
        ("ram_mib: {value: true, source: me, trust: 1}", "above 0"),
        ("ram_mib: {value: 1.5, source: me, trust: 1}", "whole number"),
        ("ram_mib: {value: .inf, source: me, trust: 1}", "above 0"),
        (f"ram_mib: {{value: {10**400}, source: me, trust: 1}}", "bad.yaml"),
        ("extends: pi9", "no device is called 'pi9'"),
        ("extends: [pi4]", "no device is called"),
        ("extends: pi4-4gb\ncycles: {source: me, trust: 1, Q4_X: 1}", "'Q4_X', which is no storage type"),
        ("extends: pi4-4gb\ncycles: {Q4_K: 1}", "needs a source"),
        ("extends: pi4-4gb\nquants: Q4_K_M", "list of names"),
        ("a: &x 1", "anchors are not allowed"),
        ("a: [", "not a device profile"),
    ],
)
def test_a_wrong_profile_is_refused_with_file_and_reason(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        device(tmp_path / "bad.yaml")
    assert reason in str(caught.value)


def test_profiles_that_extend_each_other_in_a_circle_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text("extends: b")
    (tmp_path / "b.yaml").write_text("extends: a")
    monkeypatch.setenv("PILLM_DEVICES", str(tmp_path))
    with pytest.raises(ConfigError, match="circle"):
        device("a")


def test_a_profile_that_stands_in_for_an_installed_one_may_extend_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pi4-4gb.yaml").write_text("extends: pi4-4gb\nghz: {value: 2.0, source: overclocked, trust: 3}\n")
    (tmp_path / "mine.yaml").write_text("extends: pi4-4gb\ntitle: mine\n")
    installed = device("pi4-4gb")
    monkeypatch.setenv("PILLM_DEVICES", str(tmp_path))
    found = device("pi4-4gb")
    assert (found.ghz, found.ram_mib, found.title) == (2.0, installed.ram_mib, installed.title)
    assert (device("mine").ghz, device("mine").title) == (2.0, "mine")
    (tmp_path / "alone.yaml").write_text("extends: alone\n")
    with pytest.raises(ConfigError, match="circle"):
        device("alone")


def test_a_broken_profile_of_ones_own_is_named_and_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken.yaml").write_text("ram_mib: [")
    monkeypatch.setenv("PILLM_DEVICES", str(tmp_path))
    assert device("this-machine").ram_mib > 0
    assert {one.name for one in sound_devices()} >= set(PROMISED)
    assert "broken.yaml is not a device profile" in caplog.text
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        device("broken")


def test_memory_that_was_asked_for_is_in_the_title() -> None:
    small = device("pi4-4gb").with_memory(200)
    assert (small.title, small.kind, small.with_memory(300).title) == (
        "Raspberry Pi 4 with 200 MiB", "Raspberry Pi 4", "Raspberry Pi 4 with 300 MiB",
    )  # fmt: skip
    assert device("generic-x86").with_memory(8000).title == "this x86 computer with 8,000 MiB"


def test_a_file_that_is_not_there_is_said_to_be_none() -> None:
    with pytest.raises(ConfigError, match="is not a file"):
        device("nowhere/mine.yaml")


@settings(deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=2)))
def test_no_value_of_a_figure_crashes(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.mktemp("devices") / "x.yaml"
    path.write_text(
        f"ram_mib: {{value: 5, source: s, trust: 1}}\nghz: {json.dumps({'value': value, 'source': 's', 'trust': 1})}"
    )
    with contextlib.suppress(ConfigError):
        assert isinstance(device(path), DeviceProfile)


XEON = DeviceFacts(architecture="x86_64", cpu="Intel(R) Xeon(R) Processor", ram_mib=64000)
BOARD = DeviceFacts(model="Raspberry Pi 4 Model B Rev 1.4", architecture="aarch64", ram_mib=7800)


def test_a_machine_that_is_no_such_device_is_told_from_one_with_other_memory() -> None:
    said = "this machine is Intel(R) Xeon(R) Processor, x86_64, not Raspberry Pi 4, 4 GB"
    assert mismatch(device("pi4-4gb"), XEON) == said
    assert mismatch(device("pi5-4gb"), BOARD) is not None
    assert mismatch(device("pi4-4gb"), BOARD) is None, "memory changes what fits, not how fast it is"
    assert mismatch(device("generic-x86"), XEON) is None
    assert mismatch(device("pi4-4gb"), DeviceFacts()) is None, "it tells nothing of itself"
