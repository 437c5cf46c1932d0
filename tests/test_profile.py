"""What a profile says of accelerators and of types that cores unpack slowly."""

from __future__ import annotations

import pytest

from pillm.devices import device
from pillm.errors import ConfigError


@pytest.mark.parametrize("name", ["pi4-4gb", "pi5-8gb"])
def test_the_graphics_processor_of_a_pi_is_refused_with_the_reason(name: str) -> None:
    profile = device(name)
    profile.check_accelerator("cpu")
    with pytest.raises(ConfigError, match=r"vulkan is refused\. The VideoCore VI.* \(V3D"):
        profile.check_accelerator("vulkan")


def test_other_machines_may_use_theirs_and_an_unknown_one_is_named() -> None:
    device("generic-x86").check_accelerator("vulkan")
    with pytest.raises(ConfigError, match=r"has no accelerator 'npu'. It has: cpu, vulkan"):
        device("orangepi5").check_accelerator("npu")


def test_a_device_without_memory_of_its_own_is_planned_on_its_own_architecture_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for machine in ("aarch64", "arm64"):
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        device("generic-arm64").check_memory()
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(ConfigError, match=r"--ram MIB, or a profile of your own with `extends: generic-arm64`"):
        device("generic-arm64").check_memory()
    told = device("generic-arm64").with_memory(1900)
    told.check_memory()
    assert (told.ram_mib, told.facts["ram_mib"].source) == (1900, "as asked")
    device("pi4-4gb").check_memory()


def test_without_its_copy_nobody_knows_how_fast_a_type_is() -> None:
    board = device("pi5-8gb")
    plain = board.without_repacking()
    assert ("Q4_0" in board.repacked, plain.repacked) == (True, frozenset())
    assert (plain.cycles_in_decode("Q4_0"), plain.cycles_in_decode("Q4_K"), plain.cycles.get("Q4_0")) == (None, None, None)
    assert plain.cycles_in_decode("Q3_K") == board.cycles_in_decode("Q3_K"), "it was never copied"
    assert device("pi4-4gb").without_repacking() == device("pi4-4gb")


def test_cycles_in_decode_are_prefills_times_a_factor_or_their_own_or_none() -> None:
    pi4, pi5 = device("pi4-4gb"), device("pi5-8gb")
    assert pi4.cycles_in_decode("Q4_K") == pytest.approx(1.079 * pi4.cycles["Q4_K"])
    assert pi5.cycles_in_decode("Q3_K") == pi5.decode_cycles["Q3_K"]
    assert pi5.cycles_in_decode("Q8_0") == 0.0, "memory alone is waited for"
    assert pi4.cycles_in_decode("IQ1_S") is None, "slow, and nobody knows how slow"


def test_files_outside_the_fitted_sizes_are_told() -> None:
    profile = device("pi4-4gb")
    assert profile.fitted(800_000_000)
    assert not profile.fitted(2_000_000)
    assert not profile.fitted(5_000_000_000)
