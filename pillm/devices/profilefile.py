"""Reading a device's profile from its YAML file, with what it extends; every figure says its source and trust."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pillm.devices.profile import DeviceProfile, Fact, Match
from pillm.devices.quants import BLOCKS
from pillm.errors import ConfigError, did_you_mean
from pillm.yamlfile import parse_yaml

_MAX_PARENTS = 4
_WHOLE = ("cores", "threads", "threads_batch", "ubatch", "context")
_FIGURES = (
    "ghz", "bandwidth_gbps", "layer_ms", "token_ms", "attention_cycles", "decode_factor", "decode_error", "prefill_error",
    "disk_mbps", "ram_mib", "reserve_mib", "runtime_mib", "fitted_from_mb", "fitted_to_mb", *_WHOLE,
)  # fmt: skip
_ZERO = ("layer_ms", "token_ms", "attention_cycles", "reserve_mib", "runtime_mib")
_TABLES = {
    "cycles": "cycles", "cycles_estimated": "cycles", "decode_cycles": "decode_cycles",
    "decode_cycles_estimated": "decode_cycles",
}  # fmt: skip
"""The tables of cycles that a file may hold, fitted before estimated, and the table of the profile that they fill."""
_SMALL = "small_files"
_BELOW = "below_mb"
"""What a file may say of small model files: figures and tables in a table of their own, and the size below which they hold."""
_LISTS = ("compute_bound", "quants", "quants_if_not_256", "avoid", "accelerators")
_KEYS = ("extends", "title", "match", "refused", "repacked", "swa_full", *_FIGURES, *_TABLES, *_LISTS, _SMALL)
_BESIDE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.ya?ml")
_OWN = "this machine"


def read_profile(path: Path, find: Callable[[str, tuple[Path, ...]], Path]) -> DeviceProfile:
    """Return the profile in a file; `find` gives the file of a profile by its name, none of those that led to it.

    Raise ConfigError where it is wrong.
    """
    described = _described(path, (), find)
    try:
        return _built(path.stem, described)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{path.name}: {error}") from error


def _described(path: Path, seen: tuple[Path, ...], find: Callable[[str, tuple[Path, ...]], Path]) -> dict[str, Any]:
    """Return what a file says, on top of what it extends."""
    try:
        said = _parsed(path.read_text("utf-8"))
        _check_keys(said, _KEYS)
        said = {**said, "tables": _tables(said)}
        if _SMALL in said:
            _check_keys(said[_SMALL], (_BELOW, *_FIGURES, *_TABLES))
            said[_SMALL] = {**said[_SMALL], "tables": _tables(said[_SMALL])}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path.name} is not a device profile: {error}.") from error
    parent = said.pop("extends", None)
    if parent is None:
        return dict(said)
    if path in seen or len(seen) >= _MAX_PARENTS:
        raise ConfigError(f"{path.name} extends {parent!r}, which leads round in a circle or deeper than {_MAX_PARENTS} files.")
    inherited = _described(_extended((*seen, path), str(parent), find), (*seen, path), find)
    tables = {table: inherited["tables"][table] | rows for table, rows in said["tables"].items()}
    return {**inherited, **said, "tables": tables}


def _extended(seen: tuple[Path, ...], parent: str, find: Callable[[str, tuple[Path, ...]], Path]) -> Path:
    """Return the file that the last one seen extends: one that lies beside it, or that of a profile by its name."""
    path = seen[-1]
    if not parent.endswith((".yaml", ".yml")):
        return find(parent, seen)  # one that has the name of an installed profile stands in for it, and may extend it
    # a file may come from elsewhere: what it names must not lead out of its folder
    if not _BESIDE.fullmatch(parent):
        raise ConfigError(f"{path.name} extends {parent!r}. Name a file that lies beside it, without a folder, or a profile.")
    beside = path.parent / parent
    if not beside.is_file():
        raise ConfigError(f"{path.name} extends {parent!r}, and no such file lies beside it in {path.parent}.")
    return beside


@lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    return parse_yaml(text)  # a plan looks at every board there is


def _tables(said: dict[str, Any]) -> dict[str, dict[str, tuple[Any, Fact]]]:
    return {table: _cycles(said, table) for table in set(_TABLES.values())}


def _check_keys(said: Any, known: tuple[str, ...]) -> None:
    if not isinstance(said, dict):
        raise ValueError("it holds no table")  # noqa: TRY004 - the caller turns ValueError into a sentence
    for key in said:
        if key not in known:
            raise ValueError(f"unknown key {key!r}.{did_you_mean(str(key), known)}")


def _built(name: str, said: dict[str, Any]) -> DeviceProfile:
    values: dict[str, Any] = {}
    facts: dict[str, Fact] = {}
    for key in _FIGURES:
        if key in said:
            values[key], facts[key] = _figure(key, said[key])
    for table, rows in said["tables"].items():
        values[table] = MappingProxyType({type_: _number(f"{table}.{type_}", cost) for type_, (cost, _) in rows.items()})
        facts |= {f"{table}.{type_}": fact for type_, (_, fact) in rows.items()}
    for key in _LISTS:
        if key in said:
            values[key] = _names(key, said[key])
    if "ram_mib" not in values:
        raise ValueError("it does not say ram_mib, the memory in MiB that the system sees")
    values["compute_bound"] = frozenset(values.get("compute_bound", ()))
    values["refused"] = MappingProxyType(_reasons(said.get("refused", {})))
    values["match"] = _match(said["match"]) if "match" in said else None
    if small := said.get(_SMALL):
        rest = {key: value for key, value in said.items() if key != _SMALL}
        values["small_files_mb"], _ = _figure(_BELOW, small.get(_BELOW))
        values[_SMALL] = _built(name, {**rest, **{key: value for key, value in small.items() if key != _BELOW}})
    values["own_ram"] = said["ram_mib"]["value"] == _OWN
    values["swa_full"] = said.get("swa_full", False)
    if not isinstance(values["swa_full"], bool):
        raise ValueError(f"swa_full must be true or false, not {values['swa_full']!r}")  # noqa: TRY004
    if "repacked" in said:
        values["repacked"], facts["repacked"] = _types("repacked", said["repacked"])
    return DeviceProfile(name=name, title=str(said.get("title", name)), facts=MappingProxyType(facts), **values)


def _cycles(said: dict[str, Any], wanted: str) -> dict[str, tuple[Any, Fact]]:
    """Return each storage type's cycles with the source of the table it stands in, fitted before estimated."""
    found: dict[str, tuple[Any, Fact]] = {}
    for table in reversed([table for table, fills in _TABLES.items() if fills == wanted and table in said]):
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
    if key == "ram_mib" and said["value"] == _OWN:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20, fact
    number = _number(key, said["value"])
    if key in _WHOLE or key.endswith("_mib"):
        if number != int(number) or (number < 1 and key not in _ZERO):
            raise ValueError(f"{key} must be a whole number of 1 or more, not {said['value']!r}")
        return int(number), fact
    return number, fact


def _types(key: str, said: Any) -> tuple[frozenset[str], Fact]:
    fact = _fact(key, said)
    types = _names(f"{key}.types", said.get("types"))
    for type_ in types:
        if type_ not in BLOCKS:
            raise ValueError(f"{key} names {type_!r}, which is no storage type.{did_you_mean(type_, BLOCKS)}")
    if set(said) != {"types", "source", "trust"}:
        raise ValueError(f"{key} must be written as {{types: [...], source: ..., trust: 1 to 3}}")
    return frozenset(types), fact


def _fact(key: str, said: Any) -> Fact:
    if not isinstance(said, dict) or said.get("trust") not in (1, 2, 3) or not isinstance(said.get("source"), str):
        raise ValueError(f"{key} needs a source (text) and trust (1 to 3)")
    return Fact(source=said["source"], trust=said["trust"])


def _number(key: str, value: Any) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or value < 0
        or not (value or key in _ZERO)
    ):
        raise ValueError(f"{key} must be a number above 0, not {value!r}")
    return float(value)


def _names(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{key} must be a list of names")
    return tuple(value)


def _reasons(said: Any) -> dict[str, str]:
    if not isinstance(said, dict) or not all(isinstance(item, str) for pair in said.items() for item in pair):
        raise ValueError("refused must give a reason for each accelerator that it names")
    return dict(said)


def _match(said: Any) -> Match:
    if not isinstance(said, dict) or not set(said) <= {"model", "architecture", "ram_mib"}:
        raise ValueError("match may say model (a list of words), architecture and ram_mib ([least, most])")
    span = said.get("ram_mib", [0, 1 << 40])
    if not isinstance(span, list) or len(span) != 2 or not all(type(one) is int for one in span):
        raise ValueError("match.ram_mib must be [least, most] in MiB")
    architecture = said.get("architecture", "")
    if not isinstance(architecture, str):
        raise ValueError("match.architecture must be a name as `uname -m` says it")  # noqa: TRY004
    return Match(model=_names("match.model", said.get("model", [])), architecture=architecture, ram_mib=(span[0], span[1]))
