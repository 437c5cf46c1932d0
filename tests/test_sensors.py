"""Sensors are read where they are, and said to be missing where they are not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.machines import LocalMachine
from pillm.performance.sensors import Reading, Sensors, swapped, throttled_now, throttled_since_boot
from tests.recorded import CPU, PMIC, RecordedMachine


def test_a_pi_4_tells_temperature_clocks_and_throttle_bits() -> None:
    sensors = Sensors(RecordedMachine())
    found = sensors.read()
    assert found.temperature_c == 44.3
    assert found.clocks_mhz == (1800.0,) * 4
    assert found.throttled == 0
    assert found.power_w is None
    assert list(sensors.missing) == ["power"]


@pytest.mark.parametrize(
    ("bits", "now", "since"),
    [
        (0x0, (), ()),
        (0x50005, ("under-voltage", "throttled"), ("under-voltage", "throttled")),
        (0xE0008, ("soft temperature limit",), ("frequency capped", "throttled", "soft temperature limit")),
        (0x20002, ("frequency capped",), ("frequency capped",)),
        (None, (), ()),
    ],
)
def test_throttle_bits_are_told_in_words(bits: int | None, now: tuple[str, ...], since: tuple[str, ...]) -> None:
    assert (throttled_now(bits), throttled_since_boot(bits)) == (now, since)


def test_a_machine_without_sensors_says_so_and_invents_nothing() -> None:
    sensors = Sensors(RecordedMachine(files={}, commands={}))
    assert list(sensors.missing) == ["temperature", "clock", "throttling", "power"]
    assert sensors.read().empty
    assert not sensors.has_power


def test_the_processors_zone_counts_and_not_the_disks() -> None:
    board = RecordedMachine()
    board.files |= {"/sys/class/thermal/thermal_zone1/type": "nvme\n", "/sys/class/thermal/thermal_zone1/temp": "71000\n"}
    assert Sensors(board).read().temperature_c == 44.3
    board.files["/sys/class/thermal/thermal_zone0/type"] = "acpitz\n"
    assert Sensors(board).read().temperature_c == 71.0


def test_power_is_read_from_a_sensor_chip_or_from_the_pi_5() -> None:
    board = RecordedMachine()
    board.files |= {
        "/sys/class/hwmon/hwmon0/name": "rp1_adc\n",
        "/sys/class/hwmon/hwmon3/name": "ina219\n",
        "/sys/class/hwmon/hwmon3/power1_input": "5120000\n",
    }
    assert Sensors(board).read().power_w == 5.12
    newer = RecordedMachine()
    newer.commands["vcgencmd pmic_read_adc"] = PMIC
    sensors = Sensors(newer)
    assert sensors.has_power
    assert sensors.read().power_w == pytest.approx(0.0927111 * 3.7 + 1.5 * 0.8)


@settings(max_examples=50)
@given(st.text(max_size=40))
def test_whatever_a_sensor_says_is_a_number_or_nothing(said: str) -> None:
    board = RecordedMachine()
    board.files["/sys/class/thermal/thermal_zone0/temp"] = ["44000\n", said]
    board.files[f"{CPU}/cpu2/cpufreq/scaling_cur_freq"] = ["600000\n", said]
    board.commands["vcgencmd get_throttled"] = ["throttled=0x0\n", said]
    found = Sensors(board).read()
    assert isinstance(found, Reading)
    assert found.temperature_c is None or abs(found.temperature_c) < float("inf")


def test_this_machine_is_read_without_an_error() -> None:
    sensors = Sensors(LocalMachine())
    assert sensors.read().time > 0


def test_pages_that_were_swapped_are_counted_where_the_machine_tells() -> None:
    assert Sensors(RecordedMachine()).read().swapped == swapped(RecordedMachine()) == 42
    assert swapped(RecordedMachine(files={})) is None
    assert not Reading(time=0.0, swapped=0).empty
