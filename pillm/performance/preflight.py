"""What a machine is like before it is timed: what would spoil the figures is found, and said."""

from __future__ import annotations

import hashlib
import hmac
import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pillm.errors import BackendError, MissingDependency, Unavailable
from pillm.performance.sensors import Reading, Sensors, throttled_now, throttled_since_boot

if TYPE_CHECKING:
    from collections.abc import Callable

    from pillm.machines import Machine

WARM_C = 55.0
_LOOK = 2.0
BUSY = 0.3
_ROOM = 1.15
_CPUFREQ = "/sys/devices/system/cpu/cpu{core}/cpufreq"
_IDENTITIES = ("/etc/machine-id", "/proc/device-tree/serial-number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What a machine was like when it was timed; None where it does not tell, and `missing` says why."""

    machine: str = ""
    model: str | None = None
    """What the device tree calls the board, else the processor's name."""
    machine_id: str | None = None
    """A hash that tells a machine from others of its kind; another one too where the same was installed anew."""
    kernel: str | None = None
    firmware: str | None = None
    governor: str | None = None
    max_mhz: float | None = None
    """The highest clock of any core."""
    limit_mhz: float | None = None
    """What the clock is limited to now."""
    load: float | None = None
    """Processes that wanted to run, over the last minute."""
    available: int | None = None
    """Bytes of memory that could be had."""
    needed: int | None = None
    """Bytes that the model is expected to take."""
    swapped: int | None = None
    """Pages that went to or came from swap since the machine was started."""
    boot_id: str | None = None
    uptime: float | None = None
    """Seconds since the machine was started; they never step back."""
    before: Reading | None = None
    missing: dict[str, str] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    """What would spoil the figures."""


def preflight(machine: Machine, sensors: Sensors, *, needed: int | None = None) -> Conditions:
    """Read what a machine is like now, and find what would spoil the figures; `needed` is memory in bytes."""
    read = machine.read
    missing = dict(sensors.missing)
    governor = _line(read(f"{_CPUFREQ.format(core=0)}/scaling_governor"))
    before = sensors.read()
    found = {
        "governor": governor,
        "load": _first_number(read("/proc/loadavg")),
        "available": _available(read("/proc/meminfo")),
        "swapped": before.swapped,
    }
    missing |= {name: "this machine does not tell it" for name, value in found.items() if value is None}
    conditions = Conditions(
        machine=machine.label,
        model=board(machine),
        kernel=_line(read("/proc/sys/kernel/osrelease")),
        firmware=_firmware(machine),
        machine_id=machine_id(machine),
        max_mhz=_fastest(machine, "cpuinfo_max_freq", sensors.cores),
        limit_mhz=_fastest(machine, "scaling_max_freq", sensors.cores),
        needed=needed,
        boot_id=_line(read("/proc/sys/kernel/random/boot_id")),
        uptime=_first_number(read("/proc/uptime")),
        before=before,
        missing=missing,
        **found,  # type: ignore[arg-type]  # each value has the type of its field
    )
    return _judged(conditions)


def cool_down(sensors: Sensors, seconds: float, told: Callable[[str], None]) -> None:
    """Wait until a machine is cooler than WARM_C, for so many seconds at most; `told` hears what is waited for."""
    began = time.monotonic()
    before = degrees = sensors.read().temperature_c
    if degrees is None:
        told("there is no thermometer, so nobody can tell when it is cool: not waited")
        return
    while degrees is not None and degrees >= WARM_C and (left := seconds - (time.monotonic() - began)) > 0:
        told(f"{degrees:.0f} °C: waiting until it is below {WARM_C:.0f}, {left:.0f} s at most")
        time.sleep(min(_LOOK, left))
        degrees = sensors.read().temperature_c
    if degrees is not None and degrees != before:
        told(f"{degrees:.0f} °C after {time.monotonic() - began:.0f} s")


def _judged(seen: Conditions) -> Conditions:
    findings = []
    before = seen.before
    if seen.governor not in (None, "performance"):
        findings.append(f"the governor is {seen.governor}: the clock may change; `performance` holds it")
    if before is not None and before.temperature_c is not None and before.temperature_c >= WARM_C:
        findings.append(f"{before.temperature_c:.0f} °C before it began: let it cool below {WARM_C:.0f}")
    if before is not None and (now := throttled_now(before.throttled)):
        findings.append(f"held back at this moment: {', '.join(now)}")
    if before is not None and (since := throttled_since_boot(before.throttled)):
        findings.append(f"held back since it was started: {', '.join(since)}")
    if seen.load is not None and seen.load >= BUSY:
        findings.append(f"a load of {seen.load:.2f}: other programs run; {BUSY} is quiet")
    if seen.available is not None and seen.needed is not None and seen.available < _ROOM * seen.needed:
        short = f"{seen.available / 1e6:.0f} MB of memory can be had, {_ROOM * seen.needed / 1e6:.0f} MB are wanted"
        findings.append(f"{short}: it may swap or be ended")
    return replace(seen, findings=tuple(findings))


def board(machine: Machine) -> str | None:
    """Return what the device tree calls a board, else what its processor is called; None where neither is told."""
    tree = (machine.read("/proc/device-tree/model") or "").strip("\0\n ")
    lines = (machine.read("/proc/cpuinfo") or "").splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return tree or next(named, None) or None


def machine_id(machine: Machine) -> str | None:
    """Return a hash of what a machine and its board are numbered by; None where neither is told.

    A board's serial number alone could be found again by trying all of them; the system's number, which is as long as a key,
    keeps it hidden.
    """
    system, board_ = (_line((machine.read(path) or "").replace("\0", "\n")) for path in _IDENTITIES)
    if system is None and board_ is None:
        return None
    return hmac.new((system or "").encode(), f"pillm bench {board_ or ''}".encode(), hashlib.sha256).hexdigest()[:16]


def _fastest(machine: Machine, name: str, cores: int) -> float | None:
    """Return a clock (MHz) of the first or the last core, whichever is higher: cores of another kind stand at the end."""
    paths = {f"{_CPUFREQ.format(core=core)}/{name}" for core in (0, max(cores - 1, 0))}
    found = [number for path in paths if (number := _first_number(machine.read(path))) is not None]
    return max(found) / 1000 if found else None


def _firmware(machine: Machine) -> str | None:
    try:
        said = machine.run(["vcgencmd", "version"], timeout=10.0)
    except (MissingDependency, Unavailable, BackendError):
        return None
    return " ".join(said.split()) or None


def _line(text: str | None) -> str | None:
    return (text or "").strip() or None


def _first_number(text: str | None) -> float | None:
    try:
        found = float((text or "").split()[0])
    except (ValueError, IndexError):
        return None
    return found if math.isfinite(found) else None


def _available(text: str | None) -> int | None:
    for line in (text or "").splitlines():
        words = line.split()
        if words[:1] == ["MemAvailable:"] and len(words) > 1 and words[1].isdigit():
            return int(words[1]) * 1024
    return None
