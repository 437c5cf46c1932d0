"""Put a source and a publisher to work, and say which rule they break."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from pillm.hubs import Publisher, Release, RemoteFile, RemoteModel, Source
from pillm.progress import Event, Progress
from pillm.testing.declarations import check_ready, require


def check_source(source: Source, name: str) -> RemoteModel:
    """Check a source by a small model that it has; return the model as it was found. Raises ConformanceError."""
    check_ready(source)
    where = f"source {source.name!r}"
    require(source.claims(name), f"{where} does not claim {name!r}, which it is to be checked by.")
    require(not source.claims("") and not source.claims("../x"), f"{where} claims a text that is no name of a model.")
    found = source.find(name)
    require(re.fullmatch(r"[0-9a-f]{40}", found.commit), f"{where} pins {name!r} to {found.commit!r}, not to 40 hex digits.")
    require(source.find(name, found.commit).commit == found.commit, f"{where} finds another commit than it was asked for.")
    require(found.files or found.folder, f"{where} says neither which files {name!r} has nor where it lies.")
    for file in found.files:
        require(file.name == Path(file.name).name, f"{where} names a file {file.name!r}, which is a path.")
    part = source.fetch(found, Progress(), only=(found.files[0].name,)) if found.files else found.folder
    require(part and part.is_dir(), f"{where} fetched one file and gave no folder.")
    events: list[Event] = []
    folder = source.fetch(found, Progress("fetch", (events.append,)))
    for file in found.files:
        require((folder / file.name).is_file(), f"{where} did not fetch {file.name}.")
        require(_is_listed(folder / file.name, file), f"{where} fetched other bytes of {file.name} than it listed.")
    begun = next((event for event in events if event.kind == "start"), None)
    require(begun is None or begun.unit == "bytes", f"{where} must count a download in bytes.")
    here = source.find_here(name)
    require(here and here.commit == found.commit and here.folder, f"{where} does not find on this machine what it fetched.")
    return found


def check_publisher(publisher: Publisher, release: Release) -> None:
    """Check a publisher by a release that is not published yet; raise ConformanceError."""
    check_ready(publisher)
    where, names = f"publisher {publisher.name!r}", {file.name for file in release.files}
    before = publisher.look(release)
    require(set(before.states) == names, f"look() of {where} must say of every file how it stands, and of no other.")
    require(publisher.look(release) == before, f"look() of {where} changes what it looks at.")
    done = publisher.publish(release, Progress())
    require((done.files, done.public) == (len(names), release.public), f"{where} does not say what it published.")
    after = publisher.look(release)
    require(set(after.states.values()) == {"same"}, f"{where} published, and what is there is not what was sent.")
    again = publisher.publish(release, Progress())
    require((again.sent, again.commit) == (0, done.commit), f"{where} sends again what is there already.")


def _is_listed(path: Path, file: RemoteFile) -> bool:
    data = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return file.digest in (f"sha256:{hashlib.sha256(data).hexdigest()}", f"git:{blob}") and len(data) == file.bytes
