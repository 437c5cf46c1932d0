"""`deploy`: bring a bundle to a board and let it answer there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

from pillm.deployment.bundle import Bundle
from pillm.deployment.keys import first_key, key_id, keys_of, put_keys, read_keys
from pillm.deployment.place import Place, Service
from pillm.deployment.ports import port_for
from pillm.deployment.profile import Profile, arguments, model_link
from pillm.deployment.programs import LlamaProgram, find_llama_program
from pillm.deployment.room import check_room, memory_of
from pillm.deployment.settings import Settings, described, differences, profile_of, settings_for, told_of
from pillm.deployment.smoke import AnyTest
from pillm.deployment.standing import manifest_of, notes_of
from pillm.deployment.tending import wake
from pillm.deployment.trial import Trial
from pillm.devices.detection import processor_flags
from pillm.devices.shapes import shape_of
from pillm.errors import DataError
from pillm.progress import Progress
from pillm.records import JSONObject
from pillm.remote import Remote
from pillm.remote.endings import size


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
    profile: JSONObject = field(default_factory=dict)
    """How it is served: server, context, threads, temperature, predict, constrained, system, and the name of its API keys."""
    notes: tuple[str, ...] = ()


def deploy(
    bundle: Bundle, remote: Remote, service: Service | None = None, *, dry_run: bool = False, progress: Progress | None = None
) -> Deployment:
    """Bring a bundle to a board and let it answer there in the place of what answered before.

    The old release answers until the new one has proved itself, and again where it fails. What `service` says nothing of is as
    it was said before. Raises MissingDependency for what the board lacks, ConfigError where the model does not fit, the port is
    taken or the API keys are none, StorageError for too little space, UnsafeError for a host whose key is unknown or changed,
    Unavailable where the connection breaks (the same command resumes), BackendError where the new release does not answer as
    it should. With `dry_run` nothing is changed there.
    """
    began, progress, service = time.monotonic(), progress or Progress("deploy"), service or Service()
    given = read_keys(service.api_key_file) if service.api_key_file else None
    place = Place.find(remote, service.name)
    port = port_for(place, service)
    before = _manifest(place)
    settings = settings_for(service, bundle.constrained, before)
    program = find_llama_program(remote, remote.path(settings["server"]))
    keys = (key_id(place, given), given) if given else keys_of(place, place.current) if place.current else None
    planned = _plan(bundle, place, settings, program, keys[0] if keys else None)
    profile = asdict(planned.profile)
    notes = (*planned.notes, *differences(profile_of(before), profile, settings))
    done = Deployment(
        host=remote.host, state="planned", release=planned.release, model=bundle.model.label, seconds=0.0, notes=notes,
        address=f"http://127.0.0.1:{port}", previous=place.current, profile=profile,
    )  # fmt: skip
    if place.current == planned.release:
        state = "planned" if dry_run else wake(place, service.wait)
        stands = () if dry_run else notes_of(place, place.standing())
        return replace(done, state=state, previous=place.previous, notes=(*notes, *stands), seconds=since(began))
    room = check_room(place, bundle.model, planned.profile.context)
    if dry_run:
        free = remote.free_space(place.root)
        sent = f"{size(bundle.model.bytes)} would be sent at most; {size(free or 0)} are free there"
        how = f"{bundle.model.path.name} would be served with: {described(profile)}"
        return replace(done, notes=(*notes, how, sent, *room), seconds=since(began))
    place.install()
    place = replace(place, port=port)
    place.ask("prune", planned.release, bundle.model.sha256[:16])  # what failed earlier may fill the card
    if given and keys:
        put_keys(place, *keys)
    notes = (*notes, *_bring(place, planned, settings, progress))
    new = tried(place, planned.release, planned.bundle.smoke, service.wait, progress)
    progress.finish(f"{remote.host}: {bundle.model.label} answers at {done.address}")
    return replace(done, state="deployed" if new else "up to date", notes=notes, seconds=since(began))


@dataclass(frozen=True, slots=True)
class _Planned:
    release: str
    bundle: Bundle
    profile: Profile
    words: list[str]
    notes: tuple[str, ...]


def _plan(bundle: Bundle, place: Place, settings: Settings, program: LlamaProgram, key: str | None) -> _Planned:
    """Return the name of the release, the command line of its server, and what is to be said of it."""
    notes = list(bundle.notes)
    system = settings["system"] and bundle.template is not None
    if system and not program.knows("template"):
        notes.append("this llama-server knows no --chat-template-file: callers must send the system message themselves")
        system = False
    trained = shape_of(bundle.model).context or settings["context"]
    profile = Profile(
        server=program.path, threads=settings["threads"] or min(4, place.cores), context=min(settings["context"], trained),
        temperature=float(settings["temperature"]), predict=settings["predict"], system=system,
        constrained=settings["constrained"] and bundle.pooling is None, pooling=bundle.pooling, key=key,
    )  # fmt: skip
    if trained < settings["context"]:
        notes.append(f"the model has a context of {trained} tokens, so that many are served")
    bundle = bundle.served(constrained=profile.constrained, system=system, greedy=profile.temperature == 0)
    release = bundle.release(profile)
    words, dropped = arguments(program, release, profile, label=bundle.model.label, sha256=bundle.model.sha256)
    notes += [f"this llama-server knows no {', '.join(dropped)}: its defaults hold"] if dropped else []
    return _Planned(release, bundle, profile, words, tuple(notes))


def _bring(place: Place, planned: _Planned, settings: Settings, progress: Progress) -> tuple[str, ...]:
    """Put a release there, see that the keeper runs, and return what is to be said of the board."""
    bundle = planned.bundle
    model = place.remote.upload(bundle.model.path, f"{place.root}/files", bundle.model.sha256, progress)
    memory = memory_of(bundle.model.path, planned.profile.context, processor_flags(place.remote))
    archive = bundle.archive(planned.release, planned.words, told_of(planned.profile, settings), memory)
    place.unpack(planned.release, archive, model, model_link(bundle.model.sha256))
    place.ask("start")
    return notes_of(place, place.standing())


def tried(place: Place, release: str, tests: Sequence[AnyTest], wait: float, progress: Progress) -> bool:
    """Let a release that is there take the place; return whether it had it not already."""
    keys, manifest = keys_of(place, release), manifest_of(place, release)
    key = first_key(keys[1]) if keys else None
    system = manifest.get("system") if profile_of(manifest).get("system") else None
    return Trial(place=place, release=release, tests=tests, wait=wait, progress=progress, key=key, system=system).run()


def _manifest(place: Place) -> JSONObject:
    try:
        return manifest_of(place, place.current) if place.current else {}
    except DataError:  # a damaged release can still be replaced
        return {}


def since(began: float) -> float:
    """Return the seconds since then."""
    return round(time.monotonic() - began, 2)
