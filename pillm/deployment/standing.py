"""How a deployment stands: what answers, what became of it, and what its board does not do for it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pillm.deployment.asking import is_healthy
from pillm.deployment.place import Place, Service
from pillm.errors import ConfigError, DataError
from pillm.records import JSONObject
from pillm.remote import Remote
from pillm.remote.endings import ending


def standing_of(remote: Remote, service: Service | None = None) -> JSONObject:
    """Return how a deployment stands: what answers, since it was asked just now, and its processes; nothing is changed."""
    service = service or Service()
    place = Place.find(remote, service.name)
    told = place.standing()
    current = told.get("current") or None
    manifest = manifest_of(place, current) if current else {}
    code = _number(told, "exit")
    return {
        "host": remote.host,
        "name": service.name,
        "release": current,
        "model": manifest.get("model"),
        "previous": told.get("previous") or None,
        "address": f"http://127.0.0.1:{told.get('port')}",
        "healthy": answers(place) if "server" in told else False,
        "kept_by": told.get("by"),
        "running": {name: name in told for name in ("keeper", "front", "server")},
        "up_seconds": _number(told, "up_seconds"),
        "crashes": _number(told, "deaths") or 0,
        "last_end": None if code is None else ending(code),
        "given_up": "given_up" in told,
        "memory_bytes": (_number(told, "memory_kb") or 0) * 1024 or None,
        "memory_limit_bytes": _number(told, "memory_max"),
        "notes": list(notes_of(place, told)),
    }


def notes_of(place: Place, told: Mapping[str, str]) -> tuple[str, ...]:
    """Return what a person should know of how it stands there, each with its remedy."""
    code = _number(told, "exit")
    how = ending(code) if code is not None else "nobody knows why"
    again = f"`sh {place.root}/serve.sh restart` there, or the same deployment, starts it again; --logs shows what it said"
    notes = []
    if "given_up" in told:
        notes.append(f"the server ended {told.get('deaths')} times in a row ({how}) and was given up. {again}")
    elif _number(told, "deaths"):
        up = f"it runs for {told['up_seconds']} s now" if "up_seconds" in told else "it is being started anew"
        notes.append(f"the server ended {told['deaths']} times ({how}); {up}. --logs shows what it said")
    if "lingers_not" in told:
        user = told["lingers_not"]
        notes.append(
            f"it is served only while {user} is logged in there: that cannot be changed without an administrator. "
            f"Mend it there with: sudo loginctl enable-linger {user}"
        )
    if told.get("by") == "systemd" and "server" in told and not told.get("memory_max"):
        notes.append(
            "nothing limits what the server takes of the memory: the kernel there does not count it. To turn that on, add "
            "cgroup_enable=memory to the one line of /boot/firmware/cmdline.txt, and reboot"
        )
    if told.get("by") == "itself" and "keeper" in told:
        notes.append(
            "there is no systemd of the user's there: nothing limits its memory, and nothing starts it after a restart, unless "
            f"`crontab -e` has the line: @reboot sh {place.root}/serve.sh ensure"
        )
    return tuple(notes)


def logs_of(remote: Remote, service: Service | None = None, lines: int = 50) -> str:
    """Return the last lines of the log of the release that answers, without what would steer a terminal."""
    service = service or Service()
    place = Place.find(remote, service.name)
    if place.current is None:
        raise ConfigError(f"{remote.host}: nothing is deployed under the name {service.name!r}.")
    text = remote.run(["tail", "-n", str(lines), "--", f"{place.root}/log/{place.current}.log"])
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "\N{REPLACEMENT CHARACTER}" for sign in text)


def answers(place: Place) -> bool:
    """Return whether the address answers there."""
    place.remote.connect()
    with place.remote.connection.forward(f"127.0.0.1:{place.port}") as front:
        return is_healthy(front)


def manifest_of(place: Place, release: str) -> JSONObject:
    """Return the manifest of a release that is there."""
    return json_of(place, f"{place.root}/releases/{release}/manifest.json")


def json_of(place: Place, path: str) -> JSONObject:
    """Return the object in a file there; raise DataError where there is none."""
    try:
        found = json.loads(place.remote.read(path) or "null")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DataError(f"{place.remote.host}: {path} is missing or damaged. Deploy the release again.")
    return found


def _number(told: Mapping[str, str], key: str) -> int | None:
    value = told.get(key, "")
    return int(value) if value.isdigit() and value.isascii() and len(value) < 20 else None
