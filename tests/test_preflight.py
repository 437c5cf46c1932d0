"""What would spoil a measurement is found before it begins."""

from __future__ import annotations

import time

import pytest

from pillm.machines import LocalMachine
from pillm.performance import preflight as module
from pillm.performance.preflight import Conditions, board, cool_down, machine_id, preflight
from pillm.performance.sensors import Sensors
from tests.recorded import CPU, VERSION, RecordedMachine


def seen(machine: RecordedMachine, needed: int | None = 500_000_000) -> Conditions:
    return preflight(machine, Sensors(machine), needed=needed)


def test_a_quiet_board_is_described_and_nothing_is_found() -> None:
    found = seen(RecordedMachine())
    assert found.findings == ()
    assert (found.model, found.governor, found.max_mhz) == ("Raspberry Pi 4 Model B Rev 1.4", "performance", 1800.0)
    assert found.limit_mhz == 1800.0
    assert (found.kernel, found.firmware) == ("6.12.34+rpt-rpi-v8", " ".join(VERSION.split()))
    assert (found.load, found.available, found.swapped) == (0.05, 3_300_000 * 1024, 42)
    assert (found.boot_id, found.uptime) == ("3f0a77a1-4c0e-4d7f-9a8e-1f2b3c4d5e6f", 5120.31)


@pytest.mark.parametrize(
    ("path", "said", "finding"),
    [
        (f"{CPU}/cpu0/cpufreq/scaling_governor", "ondemand\n", "the governor is ondemand"),
        ("/sys/class/thermal/thermal_zone0/temp", "61000\n", "61 °C before it began"),
        ("/proc/loadavg", "1.80 1.00 0.50 3/99 7\n", "a load of 1.80"),
        ("/proc/meminfo", "MemAvailable:     300000 kB\n", "307 MB of memory can be had, 575 MB are wanted"),
    ],
)
def test_what_would_spoil_the_figures_is_found(path: str, said: str, finding: str) -> None:
    machine = RecordedMachine()
    machine.files[path] = said
    (found,) = seen(machine).findings
    assert found.startswith(finding)


def test_throttling_is_told_apart_now_and_since_boot() -> None:
    machine = RecordedMachine()
    machine.commands["vcgencmd get_throttled"] = "throttled=0x50004\n"
    assert seen(machine).findings == (
        "held back at this moment: throttled",
        "held back since it was started: under-voltage, throttled",
    )


def test_what_a_machine_does_not_tell_is_missing_and_finds_nothing() -> None:
    found = seen(RecordedMachine(files={}, commands={}))
    assert found.findings == ()
    assert set(found.missing) == {"temperature", "clock", "throttling", "power", "governor", "load", "available", "swapped"}
    assert (found.model, found.kernel, found.boot_id, found.firmware) == (None, None, None, None)


def test_this_machine_can_be_described() -> None:
    machine = LocalMachine()
    found = preflight(machine, Sensors(machine))
    assert found.kernel
    assert found.uptime
    assert board(machine)


def test_a_machine_is_known_again_and_its_numbers_are_not_told() -> None:
    one, other = RecordedMachine(), RecordedMachine()
    assert seen(one).machine_id == machine_id(RecordedMachine()) is not None
    other.files["/proc/device-tree/serial-number"] = "10000000ffffffff\0"
    assert machine_id(other) != machine_id(one), "the card in another board"
    told = repr(seen(one))
    assert "a1b2c3d4" not in told
    assert "5f0c7d0e" not in told
    assert machine_id(RecordedMachine(files={})) is None


def test_the_clock_of_the_fast_cores_and_what_it_is_limited_to_are_told() -> None:
    machine = RecordedMachine()
    machine.files |= {
        f"{CPU}/cpu3/cpufreq/cpuinfo_max_freq": "2400000\n", f"{CPU}/cpu3/cpufreq/scaling_max_freq": "2000000\n",
        f"{CPU}/cpu0/cpufreq/scaling_max_freq": "1200000\n",
    }  # fmt: skip
    assert (seen(machine).max_mhz, seen(machine).limit_mhz) == (2400.0, 2000.0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK", 0.01)


def warm(*degrees: int) -> Sensors:
    zone = "/sys/class/thermal/thermal_zone0/temp"
    machine = RecordedMachine()
    sensors = Sensors(machine)
    machine.files[zone] = [f"{one}000\n" for one in degrees]
    return sensors


@pytest.mark.usefixtures("quick")
def test_a_warm_board_is_waited_for_and_what_it_is_waited_for_is_told() -> None:
    said: list[str] = []
    cool_down(warm(72, 60, 54), 30.0, said.append)
    assert [one.partition(",")[0] for one in said[:2]] == [f"{at} °C: waiting until it is below 55" for at in (72, 60)]
    assert said[2].startswith("54 °C after")
    said.clear()
    cool_down(warm(50), 30.0, said.append)
    assert said == []


@pytest.mark.usefixtures("quick")
def test_the_wait_is_bounded_and_a_board_without_a_thermometer_is_not_waited_for() -> None:
    began = time.monotonic()
    said: list[str] = []
    cool_down(warm(72), 0.05, said.append)
    assert 0.05 <= time.monotonic() - began < 5
    assert said
    said.clear()
    cool_down(Sensors(RecordedMachine(files={})), 30.0, said.append)
    assert said == ["there is no thermometer, so nobody can tell when it is cool: not waited"]
