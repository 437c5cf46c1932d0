"""What a probe reads off recorded machines, and which profile it chooses for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillm.artifacts import DeviceFacts
from pillm.devices import device, matching, profile_for
from pillm.devices.detection import facts_text, probe_machine
from pillm.devices.shapes import from_config
from pillm.devices.speed import decode_speed, prefill_speed
from pillm.errors import ConfigError, MissingDependency
from pillm.machines import LocalMachine
from tests.benchmarks.planning.rows import MODELS

MACHINES = Path(__file__).parent / "data/machines"


def recorded(name: str) -> DeviceFacts:
    """Probe a recorded machine; its files are all there is to read."""
    return probe_machine(LocalMachine(name, MACHINES / name))


@pytest.mark.parametrize(
    ("name", "profile", "cpu", "cores", "ghz", "ram"),
    [
        ("pi4-2gb-1500", "pi4-2gb", "Cortex-A72", 4, 1.5, 1849),
        ("pi4-4gb-1800", "pi4-4gb", "Cortex-A72", 4, 1.8, 3793),
        ("pi4-4gb-1250", "pi4-4gb", "Cortex-A72", 4, 1.25, 3793),
        ("pi4-8gb-1800", "pi4-8gb", "Cortex-A72", 4, 1.8, 7818),
        ("pi400-4gb-1800", "pi4-4gb", "Cortex-A72", 4, 1.8, 3793),
        ("pi5-8gb", "pi5-8gb", "Cortex-A76", 4, 2.4, 8063),
        ("orangepi5-16gb", "orangepi5", "Cortex-A76", 4, 2.352, 15889),
        ("x86-laptop", "generic-x86", "Intel(R) N100", 2, 3.4, 15833),
        ("pi3-1gb", "generic-arm64", "Cortex-A53", 4, None, 908),
    ],
)
def test_a_recorded_machine_gets_its_facts_and_profile(
    name: str, profile: str, cpu: str, cores: int, ghz: float | None, ram: int
) -> None:
    found = recorded(name)
    assert (found.profile, found.cpu, found.cores, found.max_ghz, found.ram_mib) == (profile, cpu, cores, ghz, ram)


def test_flags_system_and_board_are_read() -> None:
    pi4, pi5 = recorded("pi4-4gb-1800"), recorded("pi5-8gb")
    assert ("asimddp" in pi4.isa, "asimddp" in pi5.isa) == (False, True)
    assert pi4.model == "Raspberry Pi 4 Model B Rev 1.4", "the zero byte of the device tree is gone"
    assert (pi4.architecture, pi5.architecture) == ("aarch64", "aarch64"), "the second has no /proc/sys/kernel/arch"
    assert (pi4.system, pi4.kernel) == ("Debian GNU/Linux 13 (trixie)", "6.12.47+rpt-rpi-v8")
    assert "Raspberry Pi 4 Model B Rev 1.4, Cortex-A72, aarch64, 4 cores, up to 1.8 GHz" in facts_text(pi4)


def test_computing_follows_the_clock_and_memory_does_not() -> None:
    shape = from_config(MODELS["Llama-3.2-1B"], "x")
    fast, slow = (profile_for(recorded(name)) for name in ("pi4-4gb-1800", "pi4-4gb-1250"))
    plain, few = shape.quantised("Q4_K_M"), shape.quantised("IQ3_S")
    assert (prefill_speed(plain, slow) or 0) == pytest.approx((prefill_speed(plain, fast) or 0) * 1.25 / 1.8)
    assert (decode_speed(plain, slow) or 0) > 0.94 * (decode_speed(plain, fast) or 0), "bound by memory"
    assert (decode_speed(few, slow) or 0) < 0.8 * (decode_speed(few, fast) or 0), "bound by the cores"
    assert slow.ghz == 1.25
    assert slow.facts["ghz"].source.startswith("a probe of the machine, which runs at 1.25 GHz, not at 1.8")


def test_this_machine_is_a_device_with_the_memory_that_it_has() -> None:
    found = device("this-machine")
    assert found.name in ("generic-x86", "generic-arm64") or found.match is not None
    assert found.ram_mib == probe_machine(LocalMachine()).ram_mib


def test_a_profile_of_ones_own_is_preferred_where_it_matches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text("extends: pi4-4gb\ntitle: my board\nmatch: {model: [Raspberry Pi 4]}\n")
    monkeypatch.setenv("PILLM_DEVICES", str(tmp_path))
    assert recorded("pi4-4gb-1800").profile == "mine"


@pytest.mark.parametrize(
    ("model", "ram", "profile", "title"),
    [
        ("Raspberry Pi 4 Model B Rev 1.5", 908, "pi4-2gb", "Raspberry Pi 4, 1 GB"),
        ("Raspberry Pi Compute Module 4 Rev 1.1", 3792, "pi4-4gb", "Raspberry Pi 4, 4 GB"),
        ("Raspberry Pi Compute Module 4S Rev 1.0", 908, "pi4-2gb", "Raspberry Pi 4, 1 GB"),
        ("Raspberry Pi 400 Rev 1.1", 3792, "pi4-4gb", "Raspberry Pi 4, 4 GB"),
        ("Raspberry Pi 5 Model B Rev 1.0", 2010, "pi5-4gb", "Raspberry Pi 5, 2 GB"),
        ("Raspberry Pi 5 Model B Rev 1.1", 16220, "pi5-8gb", "Raspberry Pi 5, 16 GB"),
        ("Raspberry Pi 500 Rev 1.0", 8062, "pi5-8gb", "Raspberry Pi 5, 8 GB"),
        ("Raspberry Pi Compute Module 5 Lite Rev 1.0", 4045, "pi5-4gb", "Raspberry Pi 5, 4 GB"),
        ("Raspberry Pi Zero 2 W Rev 1.0", 416, "generic-arm64", "Raspberry Pi Zero 2 W Rev 1.0"),
        ("Raspberry Pi 3 Model B Rev 1.2", 908, "generic-arm64", "Raspberry Pi 3 Model B Rev 1.2"),
    ],
)
def test_every_64_bit_pi_has_a_profile_and_is_called_by_its_memory(model: str, ram: int, profile: str, title: str) -> None:
    facts = DeviceFacts(model=model, architecture="aarch64", ram_mib=ram)
    assert matching(facts) == profile
    found = profile_for(facts)
    assert found.ram_mib == ram
    assert found.title == title


@pytest.mark.parametrize(
    "model", ["Raspberry Pi 4 Model B Rev 1.4", "Raspberry Pi Zero W Rev 1.1", "Raspberry Pi 3 Model B Rev 1.2"]
)
def test_a_32_bit_system_is_refused_in_words(model: str) -> None:
    facts = DeviceFacts(model=model, architecture="armv7l", ram_mib=900)
    assert matching(facts) is None
    with pytest.raises(ConfigError, match=r"32-bit one \(armv7l\).* Install the 64-bit system"):
        profile_for(facts)


def test_the_processors_flags_choose_which_weights_are_held_twice() -> None:
    pi5, pi3, laptop = (profile_for(recorded(name)) for name in ("pi5-8gb", "pi3-1gb", "x86-laptop"))
    assert ("Q8_0" in pi5.repacked, pi3.repacked, "Q4_0" in laptop.repacked) == (True, frozenset(), True)
    assert pi5.facts["repacked"].source == "a probe of the machine"
    slow = profile_for(DeviceFacts(model="old", architecture="x86_64", ram_mib=4000, isa=("avx",)))
    assert slow.repacked == frozenset() != device("generic-x86").repacked


def test_an_overclocked_board_is_told_so() -> None:
    facts = DeviceFacts(model="Raspberry Pi 4 Model B Rev 1.4", architecture="aarch64", ram_mib=3792, max_ghz=2.1)
    found = profile_for(facts)
    assert found.facts["ghz"].source.endswith("which runs at 2.1 GHz, not at 1.8; what memory delivers is taken as it was")
    stock = profile_for(recorded("pi4-4gb-1800"))
    assert stock.facts["ghz"].source == "a probe of the machine"


def test_a_machine_that_nothing_fits_is_named(tmp_path: Path) -> None:
    facts = DeviceFacts(model="a toaster", architecture="riscv64", ram_mib=100)
    assert matching(facts) is None
    with pytest.raises(ConfigError, match="no device profile fits a toaster"):
        profile_for(facts)


@dataclass
class Odd:
    """A machine whose files hold anything and where nothing can be run."""

    files: dict[str, str] = field(default_factory=dict)
    label: str = "odd"

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def run(self, argv: object, *, timeout: float = 60.0) -> str:
        raise MissingDependency(f"{argv} is not there")


def test_a_machine_that_tells_nothing_gives_no_facts_and_no_error() -> None:
    assert probe_machine(Odd()) == DeviceFacts()


PATHS = ("/proc/cpuinfo", "/proc/meminfo", "/proc/device-tree/model", "/etc/os-release", "/sys/devices/system/cpu/online",
         "/sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq", "/proc/sys/kernel/osrelease")  # fmt: skip
TEXTS = st.text(max_size=200) | st.sampled_from(
    ["processor: 1\nCPU part: 0xd08\n\x1b[2J", "MemTotal: 99999999999999999999 kB", "0-99999999", "9" * 30, "\0\0", "flags: lm"]
)


@given(st.dictionaries(st.sampled_from(PATHS), TEXTS))
def test_whatever_files_hold_a_probe_tells_or_is_silent(files: dict[str, str]) -> None:
    found = probe_machine(Odd(files))
    assert "\x1b" not in facts_text(found)
    assert found.cores is None or 0 < found.cores <= 1024
