"""What is done to a deployment that stands: started anew, stopped, removed."""

from __future__ import annotations

import time

from pillm.deployment.place import Place, Service
from pillm.deployment.ports import who_has
from pillm.deployment.standing import answers, log_end
from pillm.errors import BackendError, Unavailable
from pillm.records import JSONObject
from pillm.remote import Remote

_STOP = 200.0


def restart(remote: Remote, service: Service | None = None) -> JSONObject:
    """Start the release that answers anew, whoever stopped it or whatever became of it, and wait until it answers.

    Raises ConfigError where nothing is deployed, BackendError where it does not answer within `service.wait` seconds.
    """
    service = service or Service()
    place = Place.find(remote, service.name)
    release = place.deployed()
    place.install()
    _told(place, "restart")
    if not _answers_within(place, service.wait):
        raise _silent(place)
    return _row(place, "restarted", release)


def stop(remote: Remote, service: Service | None = None) -> JSONObject:
    """Serve a model no longer, until `restart` or another deployment; its files stay. Raises ConfigError for none there."""
    place = Place.find(remote, (service or Service()).name)
    release = place.deployed()
    place.install()
    _told(place, "stop")
    return _row(place, "stopped", release)


def remove(remote: Remote, service: Service | None = None) -> JSONObject:
    """Serve a model no longer, and remove its files and all that kept it; also what a first deployment that failed left there.

    Raises ConfigError where nothing is there under that name.
    """
    place = Place.find(remote, (service or Service()).name)
    if place.current is None and not place.remote.script(_THERE, place.root, what="the look for its folder"):
        place.deployed()
    place.install()
    _told(place, "remove")
    return _row(place, "removed", place.current)


def wake(place: Place, wait: float) -> str:
    """See that the current release answers, starting it anew where it does not; return what was done."""
    done = "up to date" if place.ask("start") == "serving" else "restarted"
    if "given_up" not in place.standing() and _answers_within(place, wait):
        return done
    _told(place, "restart")
    if _answers_within(place, wait):
        return "restarted"
    raise _silent(place)


_THERE = '[ ! -d "$1" ] || echo yes'


def _told(place: Place, verb: str) -> None:
    if place.ask(verb, timeout=_STOP) == "busy":
        raise Unavailable(f"{place.remote.host}: a deployment is under way there. Run the same command again.")


def _row(place: Place, state: str, release: str | None) -> JSONObject:
    return {"host": place.remote.host, "name": place.name, "state": state, "release": release}


def _answers_within(place: Place, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not answers(place):
        if time.monotonic() > until:
            return False
        time.sleep(0.3)
    return True


def _silent(place: Place) -> BackendError:
    taken = who_has(place, place.port) if place.port else None
    why = f"port {place.port} {taken}" if taken else f"its log ends with: {log_end(place, place.current)}"
    return BackendError(f"{place.remote.host}: the release was started anew and does not answer: {why}. See --logs.")
