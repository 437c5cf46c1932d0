"""`deploy`: bring a bundle to a board and let it answer there; go back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pillm.deployment.bundle import Bundle
from pillm.deployment.keys import first_key, flags, key_id, keys_of, put_keys, read_keys
from pillm.deployment.place import Place, Service
from pillm.deployment.profile import arguments
from pillm.deployment.programs import LlamaProgram, find_llama_program
from pillm.deployment.room import check_room, check_room_again, memory_of
from pillm.deployment.smoke import SmokeTest, smoke_from_json
from pillm.deployment.standing import answers, json_of, manifest_of, notes_of
from pillm.deployment.trial import Trial
from pillm.devices.detection import processor_flags
from pillm.errors import BackendError, ConfigError, DataError
from pillm.progress import Progress
from pillm.records import JSONObject
from pillm.remote import Remote
from pillm.remote.endings import size

PORT = 8080


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
    the board lacks, ConfigError where the model does not fit or the API keys are none, StorageError for too little space,
    UnsafeError for a host whose key is unknown or changed, Unavailable where the connection breaks (the same command resumes),
    BackendError where the new release does not answer as it should. With `dry_run` nothing is changed there.
    """
    began, progress, service = time.monotonic(), progress or Progress("deploy"), service or Service()
    given = read_keys(service.api_key_file) if service.api_key_file else None
    place = Place.find(remote, service.name)
    port = _port(place, service)
    program = find_llama_program(remote, remote.path(service.server))
    keys = (key_id(place, given), given) if given else keys_of(place, place.current) if place.current else None
    planned = _plan(bundle, place, service, program, keys[0] if keys else None)
    done = Deployment(
        host=remote.host, state="planned", release=planned.release, model=bundle.model.label,
        address=f"http://127.0.0.1:{port}", seconds=0.0, previous=place.current, notes=planned.notes,
    )  # fmt: skip
    if place.current == planned.release:
        state = "planned" if dry_run else _awake(place, service)
        notes = () if dry_run else notes_of(place, place.standing())
        return replace(done, state=state, previous=place.previous, notes=notes, seconds=_since(began))
    room = check_room(place, bundle.model, service.context)
    if dry_run:
        free = remote.free_space(place.root)
        notes = (*planned.notes, f"{size(bundle.model.bytes)} would be sent at most; {size(free or 0)} are free there", *room)
        return replace(done, notes=notes, seconds=_since(began))
    place.install(port)
    place = replace(place, port=port)
    if given and keys:
        put_keys(place, *keys)
    notes = (*planned.notes, *_bring(place, bundle, planned, service.context, progress))
    new = _tried(place, planned.release, bundle.smoke, service.wait, progress)
    progress.finish(f"{remote.host}: {bundle.model.label} answers at {done.address}")
    return replace(done, state="deployed" if new else "up to date", notes=notes, seconds=_since(began))


def roll_back(remote: Remote, service: Service | None = None, progress: Progress | None = None) -> Deployment:
    """Let the release before the current one answer again, by the same trial; the two change places.

    Raises ConfigError where there is none, or where the two have no room beside each other, and what `deploy` raises.
    """
    began, service = time.monotonic(), service or Service()
    place = Place.find(remote, service.name)
    if place.previous is None:
        raise ConfigError(f"{remote.host}: there is no release before the current one of {service.name!r} to go back to.")
    manifest, tests = _release(place, place.previous)
    check_room_again(place, manifest)
    place.ask("ensure")
    notes = notes_of(place, place.standing())
    _tried(place, place.previous, tests, service.wait, progress or Progress("deploy"))
    return Deployment(
        host=remote.host, state="rolled back", release=place.previous, model=str(manifest.get("model")),
        address=f"http://127.0.0.1:{place.port}", seconds=_since(began), previous=place.current, notes=notes,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Planned:
    release: str
    words: list[str]
    notes: tuple[str, ...]


def _plan(bundle: Bundle, place: Place, service: Service, program: LlamaProgram, key: str | None) -> _Planned:
    """Return the name of the release, the command line of its server, and what is to be said of it."""
    threads = service.threads or min(4, place.cores)
    release = bundle.release(program.path, service.context, threads, key)
    words, dropped = arguments(program, release, context=service.context, threads=threads)
    if key and "--api-key-file" not in program.flags:
        raise ConfigError(f"{program.path} knows no --api-key-file, so it would answer without a key. Nothing was sent.")
    notes = (f"this llama-server knows no {', '.join(dropped)}: its defaults hold",) if dropped else ()
    return _Planned(release, [*words, *bundle.limits(), *flags(key)], notes)


def _bring(place: Place, bundle: Bundle, planned: _Planned, context: int, progress: Progress) -> tuple[str, ...]:
    """Put a release there, see that the keeper runs, and return what is to be said of the board."""
    model = place.remote.upload(bundle.model.path, f"{place.root}/files", bundle.model.sha256, progress)
    memory = memory_of(bundle.model.path, context, processor_flags(place.remote))
    place.unpack(planned.release, bundle.archive(planned.release, planned.words, memory), model)
    place.ask("ensure")
    return notes_of(place, place.standing())


def _tried(place: Place, release: str, tests: Sequence[SmokeTest], wait: float, progress: Progress) -> bool:
    """Let a release that is there take the place; return whether it had it not already."""
    keys = keys_of(place, release)
    key = first_key(keys[1]) if keys else None
    return Trial(place=place, release=release, tests=tests, wait=wait, progress=progress, key=key).run()


def _port(place: Place, service: Service) -> int:
    if service.port is not None and place.port not in (None, service.port):
        raise ConfigError(
            f"{place.remote.host}: {service.name!r} answers at port {place.port}, and whoever asks it relies on that. Leave "
            "--port out, or serve it under another --name."
        )
    return place.port or service.port or PORT


def _awake(place: Place, service: Service) -> str:
    """See that the current release answers, starting it anew where it does not; return what was done."""
    done = "up to date" if place.ask("ensure").split()[:1] == ["serving"] else "restarted"
    if "given_up" not in place.standing() and _answers_within(place, service.wait):
        return done
    place.ask("restart")
    if _answers_within(place, service.wait):
        return "restarted"
    raise BackendError(f"{place.remote.host}: the current release does not answer, started anew neither. See --logs.")


def _answers_within(place: Place, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not answers(place):
        if time.monotonic() > until:
            return False
        time.sleep(0.3)
    return True


def _release(place: Place, release: str) -> tuple[JSONObject, tuple[SmokeTest, ...]]:
    """Return the manifest and the smoke tests of a release that is there."""
    told = json_of(place, f"{place.root}/releases/{release}/smoke.json")
    try:
        tests = smoke_from_json(told)
    except (KeyError, TypeError) as error:
        raise DataError(f"{place.remote.host}: the smoke test of {release} is damaged ({error!r}). Deploy it again.") from error
    return manifest_of(place, release), tests


def _since(began: float) -> float:
    return round(time.monotonic() - began, 2)
