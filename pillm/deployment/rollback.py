"""`roll_back`: let the release before the current one answer again, under the API key that callers show now."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from pillm.deployment.bundle import archive_of
from pillm.deployment.deploying import Deployment, since, tried
from pillm.deployment.keys import flags, key_name, with_key
from pillm.deployment.place import Place, Service
from pillm.deployment.profile import mark, model_link
from pillm.deployment.room import check_room_again
from pillm.deployment.settings import differences, profile_of
from pillm.deployment.smoke import AnyTest, smoke_from_json
from pillm.deployment.standing import json_of, manifest_of, notes_of
from pillm.errors import ConfigError, DataError
from pillm.progress import Progress
from pillm.records import JSONObject, canonical
from pillm.remote import Remote


def roll_back(
    remote: Remote, service: Service | None = None, progress: Progress | None = None, *, dry_run: bool = False
) -> Deployment:
    """Let the release before the current one answer again, by the same trial; the two change places.

    The API key stays the one that callers show now. Raises ConfigError where there is no release before, or where the two have
    no room beside each other, and what `deploy` raises. With `dry_run` nothing is changed there.
    """
    began, service = time.monotonic(), service or Service()
    place = Place.find(remote, service.name)
    place.deployed()
    if place.previous is None or place.current is None:
        raise ConfigError(f"{remote.host}: there is no release before the current one of {service.name!r} to go back to.")
    going = _planned(place, place.current, place.previous)
    check_room_again(place, going.manifest)
    done = Deployment(
        host=remote.host, state="planned", release=going.release, model=str(going.manifest.get("model")), seconds=0.0,
        address=f"http://127.0.0.1:{place.port}", previous=place.current, profile=profile_of(going.manifest), notes=going.notes,
    )  # fmt: skip
    if dry_run:
        return done
    place.install()
    if going.release != place.previous:
        _write(place, place.previous, going)
    place.ask("start")
    notes = (*going.notes, *notes_of(place, place.standing()))
    tried(place, going.release, going.tests, service.wait, progress or Progress("deploy"))
    return Deployment(
        host=remote.host, state="rolled back", release=going.release, model=done.model, seconds=since(began),
        address=done.address, previous=place.current, profile=done.profile, notes=notes,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Going:
    """Where to: the release, which is another where its API key has to be, and what that changes."""

    release: str
    manifest: JSONObject
    tests: tuple[AnyTest, ...]
    key: str | None
    notes: tuple[str, ...]


def _planned(place: Place, current: str, previous: str) -> _Going:
    now, manifest, tests = manifest_of(place, current), manifest_of(place, previous), _tests(place, previous)
    key, its = key_name(place, current), key_name(place, previous)
    if key == its:
        return _Going(previous, manifest, tests, key, differences(profile_of(now), profile_of(manifest)))
    asked = "another" if its else "none"
    kept = f"the API key that callers show now stays: the release before asked for {asked}"
    if key is None:
        kept = "no API key is asked for, as now: the release before asked for one. Deploy with --api-key-file to ask for one"
    name = hashlib.sha256(canonical([previous, key]).encode()).hexdigest()[:12]
    settings = manifest.get("settings") or {}
    profile = {**profile_of(manifest), "key": key}
    manifest = {**manifest, "release": name, "settings": {**settings, "profile": profile}}
    return _Going(name, manifest, tests, key, (kept, *differences(profile_of(now), profile)))


def _write(place: Place, previous: str, going: _Going) -> None:
    """Put a release there that is the one before but for its API key."""
    folder = f"{place.root}/releases/{previous}"
    sums = going.manifest.get("files")
    names = [name for name in sums if name not in ("model.gguf", "manifest.json")] if isinstance(sums, dict) else []
    files = {name: place.remote.read(f"{folder}/{name}") for name in names if "/" not in name}
    if not isinstance(sums, dict) or not files.get("arguments") or None in files.values():
        raise DataError(f"{place.remote.host}: {folder} is damaged. Deploy the model again.")
    texts = {name: str(text) for name, text in files.items()}
    words = [
        word.replace(f"/{previous}.sock", f"/{going.release}.sock").replace(mark(previous), mark(going.release))
        for word in with_key(texts["arguments"].splitlines(), flags(going.key))
    ]
    texts["arguments"] = "".join(f"{word}\n" for word in words)
    sha256 = str(sums["model.gguf"])
    model = place.remote.script('readlink -f -- "$1"', f"{folder}/model.gguf", what="the look for the model file").strip()
    place.unpack(going.release, archive_of(texts, going.manifest, sha256), model, model_link(sha256))


def _tests(place: Place, release: str) -> tuple[AnyTest, ...]:
    """Return the smoke tests of a release that is there."""
    told = json_of(place, f"{place.root}/releases/{release}/smoke.json")
    try:
        return smoke_from_json(told)
    except (KeyError, TypeError) as error:
        raise DataError(f"{place.remote.host}: the smoke test of {release} is damaged ({error!r}). Deploy it again.") from error
