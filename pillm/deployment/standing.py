"""How a deployment stands: what answers, what became of it, and what its board does not do for it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from pillm.deployment.asking import is_healthy
from pillm.deployment.place import Place, Service
from pillm.deployment.ports import who_has
from pillm.deployment.settings import profile_of
from pillm.errors import ConfigError, DataError
from pillm.records import JSONObject
from pillm.remote import Remote
from pillm.remote.endings import ending, tail

LAST_FAILED = "last-failed"
"""How the release that failed last is called, whose log is kept."""
_RELEASE = re.compile(r"[0-9a-f]{12}")
_NAMES = (
    'for link in "$HOME"/.local/share/pillm/served/*/current; do [ -L "$link" ] && basename -- "${link%/current}"; done; exit 0'
)


def standing_of(remote: Remote, service: Service | None = None) -> JSONObject:
    """Return how a deployment stands: what answers, since it was asked just now, and its processes; nothing is changed.

    `state` is "answers", "stopped" where somebody stopped it, "given up" where its server died too often, else "does not
    answer". Raises ConfigError where nothing is deployed.
    """
    service = service or Service()
    place = Place.find(remote, service.name)
    current = place.deployed()
    told = place.standing()
    manifest = manifest_of(place, current)
    code = _number(told, "exit")
    healthy = answers(place) if "server" in told else False
    given_up = "given_up" in told
    silent = "stopped" if "stopped" in told else "given up" if given_up else "does not answer"
    return {
        "host": remote.host,
        "name": service.name,
        "state": "answers" if healthy else silent,
        "release": current,
        "model": manifest.get("model"),
        "previous": told.get("previous") or None,
        "address": f"http://127.0.0.1:{told.get('port')}",
        "profile": profile_of(manifest),
        "healthy": healthy,
        "kept_by": told.get("by"),
        "running": {name: name in told for name in ("keeper", "front", "server")},
        "up_seconds": _number(told, "up_seconds"),
        "crashes": _number(told, "deaths") or 0,
        "last_end": None if code is None else ending(code),
        "given_up": given_up,
        "memory_bytes": (_number(told, "memory_kb") or 0) * 1024 or None,
        "memory_limit_bytes": _number(told, "memory_max"),
        "notes": [*([] if healthy else _why_silent(place, told)), *notes_of(place, told)],
    }


def names_on(remote: Remote) -> list[str]:
    """Return the names under which models are deployed on a board."""
    return sorted(remote.script(_NAMES, what="the look at what is deployed").split())


def _why_silent(place: Place, told: Mapping[str, str]) -> list[str]:
    """Return why a deployment does not answer, with what to do."""
    if "stopped" in told:
        return ["it was stopped by hand; --restart starts it"]
    if place.port and (taken := who_has(place, place.port)):
        return [f"port {place.port} {taken}: end that, and it answers again"]
    if "keeper" not in told:
        return ["nothing keeps it there; --restart starts it"]
    if "server" in told:
        return ["its server runs, but is not ready, or is not reached; --logs shows what it said"]
    return []


def notes_of(place: Place, told: Mapping[str, str]) -> tuple[str, ...]:
    """Return what a person should know of how it stands there, each with its remedy."""
    code = _number(told, "exit")
    how = ending(code) if code is not None else "nobody knows why"
    notes = []
    if "given_up" in told:
        notes.append(
            f"the server ended {told.get('deaths')} times in a row ({how}) and was given up. --restart, or the same "
            "deployment, starts it again; --logs shows what it said"
        )
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


def logs_of(remote: Remote, service: Service | None = None, lines: int = 50, release: str | None = None) -> str:
    """Return the last lines of a release's log, without what would steer a terminal; by default the one that answers.

    `release` may be LAST_FAILED. Raises ConfigError where there is no such release or log.
    """
    service = service or Service()
    place = Place.find(remote, service.name)
    if release == LAST_FAILED:
        release = (remote.read(f"{place.root}/failed") or "").strip()
        if not _RELEASE.fullmatch(release):
            raise ConfigError(f"{remote.host}: no release of {service.name!r} failed there since the one that answers came.")
    elif release is not None and not _RELEASE.fullmatch(release):
        raise ConfigError(f"{release!r} is no release: twelve hexadecimal digits, as --status shows them, or {LAST_FAILED}.")
    release = release or place.deployed()
    path = f"{place.root}/log/{release}.log"
    if not remote.script('[ ! -f "$1" ] || echo yes', path, what="the look for the log"):
        raise ConfigError(f"{remote.host}: there is no log of {release} any more.")
    return _legible(remote.run(["tail", "-n", str(lines), "--", path]))


def log_end(place: Place, release: str | None) -> str:
    """Return the last lines of a release's log in one, to be said where it failed."""
    path = f"{place.root}/log/{release}.log"
    return tail(_legible(place.remote.script('tail -n 3 -- "$1" 2>/dev/null; exit 0', path, what="the look at the log")))


def _legible(text: str) -> str:
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
