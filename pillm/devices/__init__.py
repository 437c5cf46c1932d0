"""Device profiles: what is known of a board, each figure with its source and how far to trust it.

Profiles are YAML files: the ones in `profiles/`, those in the folder that `PILLM_DEVICES` names, or any file given by
its path. `extends: NAME` takes everything from another profile that the file does not say itself, `extends: FILE.yaml` from a
file beside it. `this-machine` is the machine that pillm runs on, as a probe finds it.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pillm.artifacts import DeviceFacts
from pillm.devices.profile import DeviceProfile, Fact, Match
from pillm.devices.profilefile import read_profile
from pillm.devices.repacking import repacked_by
from pillm.errors import ConfigError, did_you_mean

__all__ = [
    "DeviceProfile", "Fact", "Match", "device", "device_names", "is_path", "matching", "mismatch", "profile_for",
    "sound_devices",
]  # fmt: skip
log = logging.getLogger(__name__)
PROFILES = Path(__file__).parent / "profiles"
FOLDER_VARIABLE = "PILLM_DEVICES"
THIS_MACHINE = "this-machine"
_CLOCKED = 0.03
"""A clock that differs by more than this share is another one."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def device_names() -> list[str]:
    """Return the names of the installed profiles and of those in the folder `PILLM_DEVICES`."""
    return sorted({path.stem for folder in _folders() for path in folder.glob("*.yaml")})


def sound_devices() -> Iterator[DeviceProfile]:
    """Yield the profiles that can be read; one of one's own that is wrong is named in a warning and passed over."""
    for name in device_names():
        try:
            yield device(name)
        except ConfigError as error:
            log.warning("%s It is passed over.", error)


def device(name: str | Path) -> DeviceProfile:
    """Return the profile of a device by its name or by the path of a YAML file; raise ConfigError where there is none.

    `this-machine` is the profile that fits the machine pillm runs on, with the clock and the memory that it has.
    """
    text = str(name)
    if text == THIS_MACHINE:
        from pillm.devices.detection import probe_machine  # it looks for a matching profile here
        from pillm.machines import LocalMachine

        return profile_for(probe_machine(LocalMachine()))
    if is_path(text):
        path = Path(text)
        if not path.is_file():
            raise ConfigError(f"{text} is not a file. Give a profile's name ({', '.join(device_names())}) or a YAML file.")
        return read_profile(path, _parent)
    return read_profile(_find(text, families=False), _parent)


def is_path(name: str) -> bool:
    """Say whether a device is given by the path of its profile, not by its name."""
    return name.endswith((".yaml", ".yml")) or "/" in name


def matching(facts: DeviceFacts) -> str | None:
    """Return the name of the profile that fits what a probe found, the most specific one, or None."""
    best: tuple[int, str] | None = None
    for profile in sound_devices():
        name, match = profile.name, profile.match
        if match is None or not _fits(match, facts):
            continue
        # a profile of one's own beats an installed one, a model beats an architecture
        rank = 2 * bool(match.model) + (not (PROFILES / f"{name}.yaml").is_file())
        if best is None or rank > best[0]:
            best = (rank, name)
    return best[1] if best else None


def profile_for(facts: DeviceFacts) -> DeviceProfile:
    """Return the profile of a probed machine, with its own memory, clock and cores; raise ConfigError where none fits.

    What computing takes follows the clock; what memory delivers does not.
    """
    name = facts.profile or matching(facts)
    if name is None:
        raise ConfigError(_unmatched(facts))
    profile = device(name)
    found: dict[str, Any] = {}
    if facts.ram_mib:
        found |= {"ram_mib": facts.ram_mib, "own_ram": False, "title": _titled(profile, facts.ram_mib)}
    if facts.max_ghz:
        found["ghz"] = facts.max_ghz
    if facts.cores and profile.cores is None:
        found["cores"] = facts.cores
    if facts.isa:
        found["repacked"] = repacked_by(facts.isa)
    if facts.model and profile.match and not profile.match.model:
        found["title"] = facts.model  # a profile of an architecture has no name for the machine
    probed = {key: _probed(key, value, profile) for key, value in found.items() if key not in ("own_ram", "title")}
    return replace(profile, facts=MappingProxyType({**profile.facts, **probed}), **found)


def _titled(profile: DeviceProfile, mib: int) -> str:
    """Return what a device is called with the memory that it has: a 2 GB board has the profile of the 4 GB one."""
    if profile.kind == profile.title:
        return profile.title
    sold = 1 << max((mib - 1).bit_length(), 9)  # the system sees less than the board is sold with
    return f"{profile.kind}, {sold // 1024} GB" if sold >= 1024 else f"{profile.kind}, {sold} MB"


def mismatch(profile: DeviceProfile, facts: DeviceFacts) -> str | None:
    """Return what a probed machine is where it is no such device; None where it is one, or nobody can tell.

    More or less memory makes no other device: what fits differs, and speeds do not.
    """
    if profile.match is None or not (facts.model or facts.architecture):
        return None
    if _fits(replace(profile.match, ram_mib=Match().ram_mib), facts):
        return None
    this = ", ".join(part for part in (facts.model, facts.cpu, facts.architecture) if part)
    return f"this machine is {this}, not {profile.title}"


def _probed(key: str, value: Any, profile: DeviceProfile) -> Fact:
    """Return the fact that a probe found; another clock than the board's own is named: memory does not follow it."""
    other = key == "ghz" and profile.ghz and abs(value / profile.ghz - 1) > _CLOCKED
    clock = f", which runs at {value:g} GHz, not at {profile.ghz:g}; what memory delivers is taken as it was" if other else ""
    return Fact(source=f"a probe of the machine{clock}", trust=3)


def _unmatched(facts: DeviceFacts) -> str:
    """Return that no profile fits a machine, and what to do."""
    what = facts.model or f"a machine of architecture {facts.architecture or 'unknown'}"
    if facts.architecture.startswith("arm"):
        return (
            f"no device profile fits {what}: its system is a 32-bit one ({facts.architecture}), for which nobody measured "
            "llama.cpp. Install the 64-bit system, which a Raspberry Pi 3, a Zero 2 W and every later one can run."
        )
    return f"no device profile fits {what}. Known: {', '.join(device_names())}. Name one, or write your own."


def _fits(match: Match, facts: DeviceFacts) -> bool:
    known = facts.architecture or ("" if not match.model else match.architecture)  # the name of a board says it too
    if match.architecture and match.architecture != known:
        return False
    if match.model and not any(word in (facts.model or "") for word in match.model):
        return False
    return facts.ram_mib is None or match.ram_mib[0] <= facts.ram_mib <= match.ram_mib[1]


def _folders() -> list[Path]:
    own = os.environ.get(FOLDER_VARIABLE)
    if own and not Path(own).is_dir():
        raise ConfigError(f"{FOLDER_VARIABLE} is set to {own}, which is not a folder. Correct it or unset it.")
    return ([Path(own)] if own else []) + [PROFILES]


def _parent(name: str, seen: tuple[Path, ...]) -> Path:
    return _find(name, families=True, seen=seen)


def _find(name: str, *, families: bool, seen: tuple[Path, ...] = ()) -> Path:
    folders = [*_folders(), *([PROFILES / "families"] if families else [])]
    if _NAME.fullmatch(name):
        paths = [path for folder in folders if (path := folder / f"{name}.yaml").is_file()]
        if paths:  # where all were seen it is a circle, which the reader tells
            return next((path for path in paths if path not in seen), paths[0])
    known = device_names()
    raise ConfigError(
        f"no device is called {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}, and {THIS_MACHINE}. "
        f"A profile of your own: a YAML file given by its path, or in the folder that {FOLDER_VARIABLE} names."
    )
