"""What a machine says of itself: board, processor, clock, memory and system, from small files that Linux keeps.

Nothing is run where files tell; a machine that keeps none of them gives few facts and no error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from pillm.artifacts import DeviceFacts
from pillm.devices import matching
from pillm.errors import PillmError
from pillm.machines import Machine

CORES = {"0xd03": "Cortex-A53", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57", "0xd08": "Cortex-A72", "0xd09": "Cortex-A73",
         "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76", "0xd0c": "Neoverse-N1", "0xd0d": "Cortex-A77", "0xd40": "Neoverse-V1",
         "0xd41": "Cortex-A78", "0xd49": "Neoverse-N2", "0xd4f": "Neoverse-V2"}  # fmt: skip
"""Arm's part numbers, as /proc/cpuinfo shows them, slow cores before fast ones of their time."""
FLAGS = ("asimd", "asimddp", "asimdhp", "fphp", "i8mm", "bf16", "sve", "sve2", "crc32", "avx", "avx2", "fma", "f16c",
         "avx_vnni", "avx512f", "avx512_bf16", "avx512_vnni", "avx512_fp16", "amx_int8", "amx_bf16")  # fmt: skip
"""The processor's flags that matter to matrix products."""
_LONGEST = 200
_MAX_CORES = 1024


def probe_machine(machine: Machine) -> DeviceFacts:
    """Return what a machine is and the name of the profile that fits it; raise Unavailable where it cannot be reached."""
    info = machine.read("/proc/cpuinfo") or ""
    facts = DeviceFacts(
        model=_model(machine),
        architecture=_architecture(machine, info),
        cpu=_cpu(info),
        cores=_cores(machine, info),
        max_ghz=_clock(machine),
        ram_mib=_memory(machine),
        isa=_flags(info),
        system=_system(machine),
        kernel=_line(machine.read("/proc/sys/kernel/osrelease")),
    )
    return replace(facts, profile=matching(facts))


def processor_flags(machine: Machine) -> frozenset[str]:
    """Return every flag that a machine's processor tells; raise Unavailable where it cannot be reached."""
    return frozenset(_flag_words(machine.read("/proc/cpuinfo") or ""))


def facts_text(facts: DeviceFacts) -> str:
    """Return what a probe found as a line for a person."""
    cores = f"{facts.cores} cores" if facts.cores else ""
    clock = f"up to {facts.max_ghz:g} GHz" if facts.max_ghz else ""
    memory = f"{facts.ram_mib} MiB of memory" if facts.ram_mib else ""
    fast = [flag for flag in ("asimddp", "i8mm", "avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in facts.isa]
    parts = (facts.model, facts.cpu, facts.architecture, cores, clock, ", ".join(fast) or "no fast flags", memory, facts.system)
    return ", ".join(part for part in parts if part)


def _model(machine: Machine) -> str | None:
    said = _line(machine.read("/proc/device-tree/model"))
    return said or _line(machine.read("/sys/devices/virtual/dmi/id/product_name"))


def _architecture(machine: Machine, info: str) -> str:
    """Return what `uname -m` says; where nothing can be run, what /proc/cpuinfo shows."""
    told = _line(machine.read("/proc/sys/kernel/arch"))  # Linux 6.1 and later
    if told:
        return told
    if "CPU implementer" in info:
        return "armv7l" if _values(info, "CPU architecture") and _values(info, "CPU architecture")[0] == "7" else "aarch64"
    if "vendor_id" in info:
        return "x86_64" if "lm" in _flag_words(info) else "i686"
    try:
        return _line(machine.run(("uname", "-m"))) or ""
    except PillmError:
        return ""


def _cpu(info: str) -> str | None:
    names = _values(info, "model name")
    if names and not names[0].startswith("ARM"):
        return _line(names[0])
    parts = set(_values(info, "CPU part"))
    known = [name for part, name in CORES.items() if part in parts]
    return known[-1] if known else None  # the fast cores of a mixed processor


def _cores(machine: Machine, info: str) -> int | None:
    """Return how many cores compute: on a processor of mixed cores, the fast ones."""
    parts = _values(info, "CPU part")
    if len(set(parts)) > 1:
        fastest = max((part for part in parts if part in CORES), key=list(CORES).index, default=parts[-1])
        return parts.count(fastest)
    physical = {(package, core) for package, core in zip(_values(info, "physical id"), _values(info, "core id"), strict=False)}
    if physical:
        return len(physical)
    return len(_values(info, "processor")) or _online(machine.read("/sys/devices/system/cpu/online"))


def _online(said: str | None) -> int | None:
    spans = re.findall(r"(\d{1,5})(?:-(\d{1,5}))?", said or "")
    count = sum(int(last or first) - int(first) + 1 for first, last in spans)
    return count if 0 < count <= _MAX_CORES else None


def _clock(machine: Machine) -> float | None:
    """Return the highest clock of any core, in GHz."""
    found = []
    for policy in range(8):  # policies are numbered by their first core
        for place in (f"cpufreq/policy{policy}", f"cpu{policy}/cpufreq"):
            said = _line(machine.read(f"/sys/devices/system/cpu/{place}/cpuinfo_max_freq"))
            if said and said.isdecimal() and len(said) < 9:
                found.append(int(said) / 1e6)
                break
    return max(found, default=None)


def _memory(machine: Machine) -> int | None:
    found = re.search(r"^MemTotal:\s+(\d{1,15}) kB", machine.read("/proc/meminfo") or "", re.MULTILINE)
    return int(found[1]) // 1024 if found else None


def _flags(info: str) -> tuple[str, ...]:
    words = _flag_words(info)
    return tuple(flag for flag in FLAGS if flag in words)


def _flag_words(info: str) -> set[str]:
    said = _values(info, "flags") or _values(info, "Features")
    return set(said[0].split()) if said else set()


def _system(machine: Machine) -> str | None:
    found = re.search(r'^PRETTY_NAME="?([^"\n]{1,200})', machine.read("/etc/os-release") or "", re.MULTILINE)
    return _line(found[1]) if found else None


def _values(info: str, key: str) -> list[str]:
    """Return what each core's paragraph of /proc/cpuinfo says under a key."""
    return list(_told(info, key))


def _told(info: str, key: str) -> Iterator[str]:
    for line in info.splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip() == key:
            yield value.strip()


def _line(said: str | None) -> str | None:
    """Return the first line of a text without what could confuse a terminal, or None where there is none."""
    lines = (said or "").replace("\0", "\n").strip().splitlines()
    clean = "".join(one for one in lines[0] if one.isprintable())[:_LONGEST].strip() if lines else ""
    return clean or None
