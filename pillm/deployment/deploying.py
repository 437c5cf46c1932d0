"""`deploy`: bring a bundle to a board and let it answer there; go back; say how it stands."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace

from pillm.deployment.asking import is_healthy
from pillm.deployment.bundle import Bundle
from pillm.deployment.place import Place
from pillm.deployment.profile import UBATCH, arguments
from pillm.deployment.programs import find_llama_program
from pillm.deployment.smoke import LONGEST, SmokeTest
from pillm.deployment.trial import Trial
from pillm.devices.planner import memory_to_serve
from pillm.errors import BackendError, ConfigError, DataError
from pillm.progress import Progress
from pillm.records import JSONObject
from pillm.remote import Remote
from pillm.remote.endings import size

PORT = 8080


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """How a model is served: the name of its place there, its port on 127.0.0.1 (None: the one it has), and its limits."""

    name: str = "default"
    port: int | None = None
    server: str = "llama-server"
    context: int = 2048
    """Tokens that prompt and answer may have together."""
    threads: int | None = None
    """Threads to compute with; None: as many as the board has cores, four at most."""
    wait: float = 180.0
    """Seconds after which a new server that is not ready is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What became of one board: `state` is deployed, up to date, rolled back, restarted, or planned."""

    host: str
    state: str
    release: str
    model: str
    address: str
    seconds: float
    previous: str | None = None
    notes: tuple[str, ...] = ()


def deploy(
    bundle: Bundle, remote: Remote, service: Service | None = None, *, dry_run: bool = False, progress: Progress | None = None
) -> Deployment:
    """Bring a bundle to a board and let it answer there in the place of what answered before.

    The old release answers until the new one has proved itself, and again where it fails. Raises MissingDependency for what
    the board lacks, ConfigError where the model does not fit, StorageError for too little space, UnsafeError for a host whose
    key is unknown or changed, Unavailable where the connection breaks (the same command resumes), BackendError where the new
    release does not answer as it should. With `dry_run` nothing is changed there.
    """
    began, progress, service = time.monotonic(), progress or Progress("deploy"), service or Service()
    place = Place.find(remote, service.name)
    port = _port(place, service)
    program = find_llama_program(remote, remote.path(service.server))
    threads = service.threads or min(4, place.cores)
    release = bundle.release(program.path, service.context, threads)
    words, dropped = arguments(program, release, context=service.context, threads=threads)
    words += bundle.limits()
    notes: tuple[str, ...] = (f"this llama-server knows no {', '.join(dropped)}: its defaults hold",) if dropped else ()
    done = Deployment(
        host=remote.host, state="planned", release=release, model=bundle.model.label, address=f"http://127.0.0.1:{port}",
        seconds=0.0, previous=place.current, notes=notes,
    )  # fmt: skip
    if place.current == release:
        state = "planned" if dry_run else _awake(place, service)
        return replace(done, state=state, previous=place.previous, seconds=_since(began))
    place.check_memory(memory_to_serve(bundle.model, context=service.context, ubatch=UBATCH), bundle.model.label)
    if dry_run:
        free = remote.free_space(place.root)
        notes += (f"{size(bundle.model.bytes)} would be sent at most; {size(free or 0)} are free there",)
        return replace(done, notes=notes, seconds=_since(began))
    place.install(port)
    model = remote.upload(bundle.model.path, f"{place.root}/files", bundle.model.sha256, progress)
    place.unpack(release, bundle.archive(release, words), model)
    place.ask("ensure")
    new = Trial(replace(place, port=port), release, bundle.smoke, service.wait, progress).run()
    progress.finish(f"{remote.host}: {bundle.model.label} answers at {done.address}")
    return replace(done, state="deployed" if new else "up to date", seconds=_since(began))


def roll_back(remote: Remote, service: Service | None = None, progress: Progress | None = None) -> Deployment:
    """Let the release before the current one answer again, by the same trial; the two change places.

    Raises ConfigError where there is none, and what `deploy` raises.
    """
    began, service = time.monotonic(), service or Service()
    place = Place.find(remote, service.name)
    if place.previous is None:
        raise ConfigError(f"{remote.host}: there is no release before the current one of {service.name!r} to go back to.")
    manifest, smoke = _release(place, place.previous)
    place.ask("ensure")
    Trial(place, place.previous, smoke, service.wait, progress or Progress("deploy")).run()
    return Deployment(
        host=remote.host, state="rolled back", release=place.previous, model=str(manifest.get("model")),
        address=f"http://127.0.0.1:{place.port}", seconds=_since(began), previous=place.current,
    )  # fmt: skip


def standing_of(remote: Remote, service: Service | None = None) -> JSONObject:
    """Return how a deployment stands: what answers, since it was asked just now, and its processes; nothing is changed."""
    service = service or Service()
    place = Place.find(remote, service.name)
    told = place.standing()
    current = told.get("current") or None
    manifest = _manifest(place, current) if current else {}
    return {
        "host": remote.host,
        "name": service.name,
        "release": current,
        "model": manifest.get("model"),
        "previous": told.get("previous") or None,
        "address": f"http://127.0.0.1:{told.get('port')}",
        "healthy": _answers(place) if "server" in told else False,
        "kept_by": told.get("by"),
        "running": {name: name in told for name in ("keeper", "front", "server")},
        "memory_bytes": int(told["memory_kb"]) * 1024 if told.get("memory_kb", "").isdigit() else None,
    }


def logs_of(remote: Remote, service: Service | None = None, lines: int = 50) -> str:
    """Return the last lines of the log of the release that answers, without what would steer a terminal."""
    service = service or Service()
    place = Place.find(remote, service.name)
    if place.current is None:
        raise ConfigError(f"{remote.host}: nothing is deployed under the name {service.name!r}.")
    text = remote.run(["tail", "-n", str(lines), "--", f"{place.root}/log/{place.current}.log"])
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _port(place: Place, service: Service) -> int:
    if service.port is not None and place.port not in (None, service.port):
        raise ConfigError(
            f"{place.remote.host}: {service.name!r} answers at port {place.port}, and whoever asks it relies on that. Leave "
            "--port out, or serve it under another --name."
        )
    return place.port or service.port or PORT


def _awake(place: Place, service: Service) -> str:
    """See that the current release answers, starting it anew where it does not; return what was done."""
    done = "up to date" if place.ask("ensure").strip() == "serving" else "restarted"
    if _answers_within(place, service.wait):
        return done
    place.ask("restart")
    if _answers_within(place, service.wait):
        return "restarted"
    raise BackendError(f"{place.remote.host}: the current release does not answer, started anew neither. See --logs.")


def _answers_within(place: Place, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not _answers(place):
        if time.monotonic() > until:
            return False
        time.sleep(0.3)
    return True


def _answers(place: Place) -> bool:
    place.remote.connect()
    with place.remote.connection.forward(f"127.0.0.1:{place.port}") as front:
        return is_healthy(front)


def _manifest(place: Place, release: str) -> JSONObject:
    return _json(place, f"{place.root}/releases/{release}/manifest.json")


def _release(place: Place, release: str) -> tuple[JSONObject, SmokeTest]:
    """Return the manifest and the smoke test of a release that is there."""
    told = _json(place, f"{place.root}/releases/{release}/smoke.json")
    try:
        request, expected = told["request"], told["expected"]
        smoke = SmokeTest(messages=tuple(request["messages"]), expected=expected, tokens=request.get("max_tokens", LONGEST))
    except (KeyError, TypeError) as error:
        raise DataError(f"{place.remote.host}: the smoke test of {release} is damaged ({error!r}). Deploy it again.") from error
    return _manifest(place, release), smoke


def _json(place: Place, path: str) -> JSONObject:
    try:
        found = json.loads(place.remote.read(path) or "null")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DataError(f"{place.remote.host}: {path} is missing or damaged. Deploy the release again.")
    return found


def _since(began: float) -> float:
    return round(time.monotonic() - began, 2)
