"""What a machine's sensors say: temperature, clock of each core, throttle bits, power. What is missing is said."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pillm.errors import BackendError, MissingDependency, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pillm.machines import Machine

_BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
_SINCE_BOOT = 16
"""The bits from here on repeat the first four, and stay set until the machine is started again."""
_CPU = "/sys/devices/system/cpu"
_HWMON = "/sys/class/hwmon"
_MAX_CORES, _MAX_ZONES, _MAX_MONITORS = 256, 16, 16
_POWER_CHIPS = ("ina219", "ina226", "ina231", "ina238", "ina3221")
_AMPERES = re.compile(r"(\w+)_A current\(\d+\)=([0-9.]+)A")
_VOLTS = re.compile(r"(\w+)_V volt\(\d+\)=([0-9.]+)V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the sensors said at one moment; None or empty where there is no such sensor."""

    time: float
    """Seconds of the clock that never steps back (`time.monotonic`) on the machine that asks."""
    temperature_c: float | None = None
    clocks_mhz: tuple[float, ...] = ()
    """By core."""
    throttled: int | None = None
    """The bits of `vcgencmd get_throttled`."""
    power_w: float | None = None
    swapped: int | None = None
    """Pages that went to or came from swap since the machine was started."""
    phase: str | None = None
    """What was being done meanwhile: `idle`, `pp`, `tg`, `sustained` and so on; `between` where nothing of these was."""

    @property
    def empty(self) -> bool:
        """Return whether no sensor said anything."""
        known = (self.temperature_c, self.throttled, self.power_w, self.swapped)
        return not self.clocks_mhz and all(one is None for one in known)


def throttled_now(bits: int | None) -> tuple[str, ...]:
    """Return in words what holds a Raspberry Pi back at this moment."""
    return tuple(word for bit, word in _BITS.items() if (bits or 0) >> bit & 1)


def throttled_since_boot(bits: int | None) -> tuple[str, ...]:
    """Return in words what held a Raspberry Pi back at any time since it was started."""
    return tuple(word for bit, word in _BITS.items() if (bits or 0) >> (bit + _SINCE_BOOT) & 1)


def swapped(machine: Machine) -> int | None:
    """Return how many pages went to or came from swap since a machine was started; None where it does not tell."""
    lines = (line.split() for line in (machine.read("/proc/vmstat") or "").splitlines())
    found = [int(words[1]) for words in lines if len(words) == 2 and words[0] in ("pswpin", "pswpout") and words[1].isdigit()]
    return sum(found) if found else None


class Sensors:
    """The sensors that one machine has; what it lacks is found out once and stands in `missing`."""

    def __init__(self, machine: Machine) -> None:
        """Look for the sensors of a machine."""
        self._machine = machine
        self.missing: dict[str, str] = {}
        self._zones = self._thermal_zones()
        self._cores = self._core_clocks()
        self._firmware = self._has_vcgencmd()
        self._power = self._power_file()
        self._pmic = self._power is None and self._firmware and self._pmic_power() is not None
        if self._power is None and not self._pmic:
            self.missing["power"] = "no power sensor (INA219 or the like, or the Pi 5's own)"

    @property
    def cores(self) -> int:
        """Return how many cores tell their clock."""
        return len(self._cores)

    @property
    def has_power(self) -> bool:
        """Return whether the power that the machine draws can be read."""
        return self._power is not None or self._pmic

    def read(self) -> Reading:
        """Return what every sensor says now."""
        temperatures = [value / 1000 for path in self._zones if (value := self._number(path)) is not None]
        clocks = [value / 1000 for path in self._cores if (value := self._number(path)) is not None]
        return Reading(
            time=time.monotonic(),
            temperature_c=max(temperatures, default=None),
            clocks_mhz=tuple(clocks),
            throttled=self._throttled() if self._firmware else None,
            power_w=self._watts(),
            swapped=swapped(self._machine),
        )

    def _number(self, path: str) -> float | None:
        try:
            found = float((self._machine.read(path) or "").split()[0])
        except (ValueError, IndexError):
            return None
        return found if math.isfinite(found) else None

    def _thermal_zones(self) -> list[str]:
        zones = [f"/sys/class/thermal/thermal_zone{number}" for number in range(_MAX_ZONES)]
        # a zone may be a battery or a disk: the processor's counts where one is named
        named = {zone: (self._machine.read(f"{zone}/type") or "").strip().lower() for zone in zones}
        there = [zone for zone in zones if self._number(f"{zone}/temp") is not None]
        cpu = [zone for zone in there if any(word in named[zone] for word in ("cpu", "soc", "x86_pkg", "core"))]
        if not there:
            self.missing["temperature"] = "no thermal zone"
        return [f"{zone}/temp" for zone in cpu or there]

    def _core_clocks(self) -> list[str]:
        found = []
        for number in range(_MAX_CORES):
            path = f"{_CPU}/cpu{number}/cpufreq/scaling_cur_freq"
            if self._number(path) is None:
                break
            found.append(path)
        if not found:
            self.missing["clock"] = "no cpufreq"
        return found

    def _has_vcgencmd(self) -> bool:
        if self._throttled() is not None:
            return True
        self.missing["throttling"] = "no vcgencmd, so no throttle bits"
        return False

    def _ask(self, argv: Sequence[str]) -> str | None:
        try:
            return self._machine.run(argv, timeout=10.0)
        except (MissingDependency, Unavailable, BackendError):
            return None

    def _throttled(self) -> int | None:
        match = re.match(r"throttled=(0x[0-9a-fA-F]{1,8})\s*$", self._ask(["vcgencmd", "get_throttled"]) or "")
        return int(match[1], 16) if match else None

    def _power_file(self) -> str | None:
        for number in range(_MAX_MONITORS):
            chip = f"{_HWMON}/hwmon{number}"
            name = (self._machine.read(f"{chip}/name") or "").strip()
            if name.startswith(_POWER_CHIPS) and self._number(f"{chip}/power1_input") is not None:
                return f"{chip}/power1_input"
        return None

    def _watts(self) -> float | None:
        if self._power is not None:
            microwatts = self._number(self._power)
            return None if microwatts is None else microwatts / 1e6
        return self._pmic_power() if self._pmic else None

    def _pmic_power(self) -> float | None:
        """Return the sum of what the Pi 5's power chip delivers on its rails, in watts; its own loss is not seen."""
        said = self._ask(["vcgencmd", "pmic_read_adc"]) or ""
        try:
            amperes = {name: float(value) for name, value in _AMPERES.findall(said)}
            volts = {name: float(value) for name, value in _VOLTS.findall(said)}
        except ValueError:
            return None
        rails = amperes.keys() & volts.keys()
        return sum(amperes[rail] * volts[rail] for rail in rails) if rails else None
