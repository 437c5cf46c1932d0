"""The settings of a deployment: what was said once holds until something else is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pillm.deployment.place import Service
from pillm.deployment.profile import Profile
from pillm.errors import ConfigError
from pillm.records import JSONObject

DEFAULTS: Mapping[str, Any] = {
    "server": "llama-server", "context": 2048, "threads": None, "temperature": 0.0, "predict": 512, "constrained": False,
    "system": True,
}  # fmt: skip
"""What holds where nothing was ever said."""
LEAST_CONTEXT = 256
"""Tokens below which hardly a question and its answer fit; llama.cpp counts its context in steps of so many."""
_TYPES: Mapping[str, tuple[type, ...]] = {
    "server": (str,), "context": (int,), "threads": (int,), "temperature": (int, float), "predict": (int,),
    "constrained": (bool,), "system": (bool,),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settings:
    """What was said of a deployment, now or earlier, and what of it was said earlier."""

    said: Mapping[str, Any]
    kept: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.said.get(name, DEFAULTS[name])


def settings_for(service: Service, constrained: bool | None, before: JSONObject) -> Settings:
    """Return the settings of a new release: what is said now, else what the release before (its manifest) was told.

    With `service.defaults` only what is said now counts. Raises ConfigError for a context into which no request fits.
    """
    given = {name: getattr(service, name) for name in DEFAULTS if name != "constrained"} | {"constrained": constrained}
    given = {name: value for name, value in given.items() if value is not None}
    earlier = {} if service.defaults else _said(before)
    kept = {name: value for name, value in earlier.items() if name not in given}
    found = Settings({**earlier, **given}, kept)
    if found["context"] < LEAST_CONTEXT:
        raise ConfigError(f"a context of {found['context']} tokens is too short to serve: take {LEAST_CONTEXT} or more.")
    return found


def told_of(profile: Profile, settings: Settings) -> JSONObject:
    """Return how a release is served as its manifest keeps it: what was said, and what came of it."""
    return {"said": dict(settings.said), "profile": asdict(profile)}


def profile_of(manifest: JSONObject) -> JSONObject:
    """Return how a release that is there is served, by name; empty for one of an older pillm."""
    told = manifest.get("settings")
    found = told.get("profile") if isinstance(told, dict) else None
    return found if isinstance(found, dict) else {}


def differences(before: JSONObject, now: JSONObject, settings: Settings | None = None) -> tuple[str, ...]:
    """Return in words what changes between two profiles, and what is kept though it was not said anew."""
    notes = []
    changed = [name for name in now if before and name in before and before[name] != now[name]]
    if changed:
        told = [f"{_worded(name, now[name])} (was: {_worded(name, before[name])})" for name in changed]
        notes.append(f"changed: {', '.join(told)}")
    if settings and settings.kept:
        told = [_worded(name, value) for name, value in settings.kept.items()]
        notes.append(f"kept as it was told before: {', '.join(told)}. --defaults forgets that")
    return tuple(notes)


def described(profile: JSONObject) -> str:
    """Return how a release is served, in words."""
    left_out = ("temperature", "predict", "constrained", "system") if profile.get("pooling") else ("pooling",)
    return ", ".join(_worded(name, value) for name, value in profile.items() if name not in left_out)


def _said(manifest: JSONObject) -> dict[str, Any]:
    told = manifest.get("settings")
    found = told.get("said") if isinstance(told, dict) else None
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if name in _TYPES and isinstance(value, _TYPES[name])}


def _worded(name: str, value: Any) -> str:
    words = {
        "server": f"server {value}",
        "context": f"context {value}",
        "threads": f"{value} threads" if value != 1 else "1 thread",
        "temperature": f"temperature {value:g}" if isinstance(value, int | float) else "",
        "predict": f"at most {value} tokens an answer",
        "constrained": "answers held to the grammar" if value else "answers free",
        "system": "the system message added" if value else "no system message added",
        "pooling": f"vectors ({value} of the tokens)" if value else "answers",
        "key": f"API key {value}" if value else "no API key",
    }
    return words.get(name, f"{name} {value}")
