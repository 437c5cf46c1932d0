"""Device profiles: what is known of a board, each figure with its source and how far to trust it.

Profiles are YAML files: the ones in `profiles/`, those in the folder that `PILLM_DEVICES` names, or any file given by
its path. `extends: NAME` takes everything from another profile that the file does not say itself.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pillm.devices.quants import BLOCKS
from pillm.errors import ConfigError, did_you_mean
from pillm.yamlfile import parse_yaml

PROFILES = Path(__file__).parent / "profiles"
FOLDER_VARIABLE = "PILLM_DEVICES"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_PARENTS = 4
_WHOLE = ("cores", "threads", "threads_batch", "ubatch", "context")
_FIGURES = (
    "ghz", "bandwidth_gbps", "layer_ms", "smooth_bandwidth_gbps", "smooth_layer_ms", "attention_cycles", "ram_mib",
    "reserve_mib", "runtime_mib", "fitted_from_mb", "fitted_to_mb", *_WHOLE,
)  # fmt: skip
_TABLES = ("cycles", "cycles_estimated")
_LISTS = ("compute_bound", "quants", "quants_if_not_256", "avoid")
_KEYS = ("extends", "title", *_FIGURES, *_TABLES, *_LISTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A figure's source and trust: 3 fitted on or taken from measurements, 2 published or typical, 1 estimated."""

    source: str
    trust: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProfile:
    """What a device is, as far as memory and speed depend on it. Speeds that nobody measured are None."""

    name: str
    title: str
    ram_mib: int
    reserve_mib: int = 600
    runtime_mib: int = 80
    context: int = 2048
    ubatch: int = 128
    cores: int | None = None
    ghz: float | None = None
    threads: int | None = None
    threads_batch: int | None = None
    bandwidth_gbps: float | None = None
    """Effective read rate of decode, 10^9 bytes per second."""
    layer_ms: float = 0.0
    smooth_bandwidth_gbps: float | None = None
    smooth_layer_ms: float = 0.0
    fitted_from_mb: float | None = None
    """The smallest file that the speeds were fitted on, in 10^6 bytes; None: not said."""
    fitted_to_mb: float | None = None
    """The largest one."""
    attention_cycles: float = 0.0
    """Cycles per multiply-add of the attention and core."""
    cycles: Mapping[str, float] = field(default_factory=dict)
    """Cycles per weight and core, by storage type."""
    compute_bound: frozenset[str] = frozenset()
    """Storage types that decode slower than memory delivers them."""
    quants: tuple[str, ...] = ("Q4_K_M", "IQ4_NL", "Q8_0")
    """Quantisations that suit the device, best first."""
    quants_if_not_256: tuple[str, ...] = ("IQ4_NL", "Q4_0", "Q8_0")
    """The same where rows do not divide by 256, so that K-quants fall back."""
    avoid: tuple[str, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)
    """Source and trust by figure; of the table of cycles by `cycles.TYPE`."""

    @property
    def calibrated(self) -> bool:
        """Return whether decode speed can be predicted at all."""
        return self.bandwidth_gbps is not None

    def fitted(self, size: int) -> bool:
        """Return whether a file of so many bytes lies within what the speeds were fitted on."""
        low, high = self.fitted_from_mb or 0.0, self.fitted_to_mb or math.inf
        return low <= size / 1e6 <= high


def device_names() -> list[str]:
    """Return the names of the installed profiles and of those in the folder `PILLM_DEVICES`."""
    return sorted({path.stem for folder in _folders() for path in folder.glob("*.yaml")})


def device(name: str | Path) -> DeviceProfile:
    """Return the profile of a device by its name or by the path of a YAML file; raise ConfigError where there is none."""
    text = str(name)
    if is_path(text):
        path = Path(text)
        if not path.is_file():
            raise ConfigError(f"{text} is not a file. Give a profile's name ({', '.join(device_names())}) or a YAML file.")
        return _profile(path)
    return _profile(_find(text, families=False))


def is_path(name: str) -> bool:
    """Say whether a device is given by the path of its profile, not by its name."""
    return name.endswith((".yaml", ".yml")) or "/" in name


def _folders() -> list[Path]:
    own = os.environ.get(FOLDER_VARIABLE)
    if own and not Path(own).is_dir():
        raise ConfigError(f"{FOLDER_VARIABLE} is set to {own}, which is not a folder. Correct it or unset it.")
    return ([Path(own)] if own else []) + [PROFILES]


def _find(name: str, *, families: bool) -> Path:
    folders = [*_folders(), *([PROFILES / "families"] if families else [])]
    if _NAME.fullmatch(name):
        for folder in folders:
            path = folder / f"{name}.yaml"
            if path.is_file():
                return path
    known = device_names()
    raise ConfigError(
        f"no device is called {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}. "
        f"A profile of your own: a YAML file given by its path, or in the folder that {FOLDER_VARIABLE} names."
    )


def _profile(path: Path) -> DeviceProfile:
    described = _described(path, ())
    try:
        return _built(path.stem, described)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{path.name}: {error}") from error


def _described(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """Return what a file says, on top of what it extends."""
    try:
        said = _parsed(path.read_text("utf-8"))
        _check_keys(said)
        said = {**said, "cycles": _cycles(said)}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path.name} is not a device profile: {error}.") from error
    parent = said.pop("extends", None)
    if parent is None:
        return dict(said)
    if path in seen or len(seen) >= _MAX_PARENTS:
        raise ConfigError(f"{path.name} extends {parent!r}, which leads round in a circle or deeper than {_MAX_PARENTS} files.")
    inherited = _described(_find(str(parent), families=True), (*seen, path))
    return {**inherited, **said, "cycles": inherited["cycles"] | said["cycles"]}


@lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    return parse_yaml(text)  # a plan looks at every board there is


def _check_keys(said: Any) -> None:
    if not isinstance(said, dict):
        raise ValueError("it holds no table")  # noqa: TRY004 - the caller turns ValueError into a sentence
    for key in said:
        if key not in _KEYS:
            raise ValueError(f"unknown key {key!r}.{did_you_mean(str(key), _KEYS)}")


def _built(name: str, said: dict[str, Any]) -> DeviceProfile:
    values: dict[str, Any] = {}
    facts: dict[str, Fact] = {}
    for key in _FIGURES:
        if key in said:
            values[key], facts[key] = _figure(key, said[key])
    cycles = {type_: _number(f"cycles.{type_}", cost) for type_, (cost, _) in said["cycles"].items()}
    facts |= {f"cycles.{type_}": fact for type_, (_, fact) in said["cycles"].items()}
    for key in _LISTS:
        if key in said:
            values[key] = _names(key, said[key])
    if "ram_mib" not in values:
        raise ValueError("it does not say ram_mib, the memory in MiB that the system sees")
    values["compute_bound"] = frozenset(values.get("compute_bound", ()))
    title = str(said.get("title", name))
    return DeviceProfile(name=name, title=title, cycles=MappingProxyType(cycles), facts=MappingProxyType(facts), **values)


def _cycles(said: dict[str, Any]) -> dict[str, tuple[Any, Fact]]:
    """Return each storage type's cycles with the source of the table it stands in, fitted before estimated."""
    found: dict[str, tuple[Any, Fact]] = {}
    for table in reversed(_TABLES):
        if table not in said:
            continue
        fact = _fact(table, said[table])
        for type_, cost in said[table].items():
            if type_ in BLOCKS:
                found[type_] = (cost, fact)
            elif type_ not in ("source", "trust"):
                raise ValueError(f"{table} names {type_!r}, which is no storage type.{did_you_mean(str(type_), BLOCKS)}")
    return found


def _figure(key: str, said: Any) -> tuple[float | int, Fact]:
    if not isinstance(said, dict) or set(said) != {"value", "source", "trust"}:
        raise ValueError(f"{key} must be written as {{value: ..., source: ..., trust: 1 to 3}}")
    fact = _fact(key, said)
    if key == "ram_mib" and said["value"] == "this machine":
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20, fact
    number = _number(key, said["value"])
    if key in _WHOLE or key.endswith("_mib"):
        if number != int(number) or (number < 1 and key != "reserve_mib"):
            raise ValueError(f"{key} must be a whole number of 1 or more, not {said['value']!r}")
        return int(number), fact
    return number, fact


def _fact(key: str, said: Any) -> Fact:
    if not isinstance(said, dict) or said.get("trust") not in (1, 2, 3) or not isinstance(said.get("source"), str):
        raise ValueError(f"{key} needs a source (text) and trust (1 to 3)")
    return Fact(source=said["source"], trust=said["trust"])


def _number(key: str, value: Any) -> float:
    zero = key in ("layer_ms", "smooth_layer_ms", "attention_cycles", "reserve_mib")
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or value < 0
        or not (value or zero)
    ):
        raise ValueError(f"{key} must be a number above 0, not {value!r}")
    return float(value)


def _names(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{key} must be a list of names")
    return tuple(value)
