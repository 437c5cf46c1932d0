"""Bring files here: several at a time, each going on where it was cut, each proved by its hash before it gets its name."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import BinaryIO

import pillm
from pillm_hub.cache import Cache, digest_of
from pillm_hub.library import request_headers
from pillm_hub.refusals import failures, refuse

AT_ONCE = 4
ATTEMPTS = 4
"""How often in a row a connection may break without a single new byte."""
TIMEOUT_SECONDS = 20.0
PAUSE_SECONDS = 0.5
TELL_SECONDS = 0.1


class Meter:
    """Counts the bytes of all files and tells the progress how many, what part of all, and how fast."""

    def __init__(self, progress: pillm.Progress, total: int) -> None:
        self.stopped = threading.Event()
        self._progress, self._total = progress, total
        self._lock = threading.Lock()
        self._done = self._told = self._fetched = 0
        self._began = self._last = time.monotonic()

    def add(self, count: int, *, fetched: bool = True) -> None:
        """Count bytes, those that were here before as not fetched; raise where the others were told to stop."""
        if self.stopped.is_set():
            raise InterruptedError
        with self._lock:
            self._done += count
            self._fetched += count if fetched else 0
            now = time.monotonic()
            if now - self._last < TELL_SECONDS and self._done < self._total:
                return
            self._last = now
            rate = max(self._fetched, 0) / max(now - self._began, 1e-6)
            share = 100 * self._done / self._total if self._total else 100.0
            self._progress.advance(self._done - self._told, percent=round(share, 1), bytes_per_second=round(rate))
            self._told = self._done


def fetch_all(cache: Cache, commit: str, files: Sequence[pillm.RemoteFile], meter: Meter, endpoint: str | None) -> None:
    """Fetch files of a commit, and link each into the commit's folder; what is here is only linked.

    Raises UnsafeError for bytes that are not the listed ones, Unavailable and StorageError where something stands in the way.
    """

    def all_of(equal: list[pillm.RemoteFile]) -> None:
        for file in equal:
            if cache.has(file.digest, file.bytes):
                meter.add(file.bytes, fetched=False)
            else:
                _fetch(cache, commit, file, meter, endpoint)
            cache.link(commit, file.name, file.digest)

    by_digest: dict[str, list[pillm.RemoteFile]] = {}
    for file in files:  # equal files are one blob, which is fetched once
        by_digest.setdefault(file.digest, []).append(file)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = [pool.submit(all_of, equal) for equal in by_digest.values()]
        try:
            done, _ = wait(waiting, return_when=FIRST_EXCEPTION)
            for future in sorted(done, key=lambda future: isinstance(future.exception(), InterruptedError)):
                future.result()
        finally:
            meter.stopped.set() if not all(future.done() for future in waiting) else None
            pool.shutdown(cancel_futures=True)


def _fetch(cache: Cache, commit: str, file: pillm.RemoteFile, meter: Meter, endpoint: str | None) -> None:
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(cache.repository, file.name, revision=commit, endpoint=endpoint)
    with cache.part(file.digest) as (path, part):
        try:
            _stream(url, part, file.bytes, meter)
            part.flush()
        except failures() as error:
            if isinstance(error, InterruptedError):
                raise
            refuse(error, cache.repository, commit)
        if path.stat().st_size != file.bytes or digest_of(path, file.digest) != file.digest:
            path.unlink()
            raise pillm.UnsafeError(
                f"{file.name} of {cache.repository}@{commit[:12]} came with other bytes than the hub lists. Nothing of it was "
                "kept. Repeat the command; if it comes so again, tell the hub and use another repository."
            )
        cache.accept(path, file.digest)


def _stream(url: str, part: BinaryIO, size: int, meter: Meter) -> None:
    """Append what is missing of a file; a connection that breaks is opened again, from where it broke."""
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    failed, have = 0, part.tell()
    meter.add(have, fetched=False)
    while have < size:
        before = have
        try:
            have = _once(url, part, size, meter)
            broken: Exception | None = None
        except HTTPError as error:
            if getattr(error, "response", None) is not None:  # the hub answered: asking again gets the same answer
                raise
            part.flush()
            have, broken = part.tell(), error
        failed = 0 if have > before else failed + 1
        if have < size and failed >= ATTEMPTS:
            raise broken or ConnectionError("the connection ends before the file does")
        if have < size:
            time.sleep(PAUSE_SECONDS * failed)


def _once(url: str, part: BinaryIO, size: int, meter: Meter) -> int:
    """Read one answer to its end; return how many bytes of the file are here then."""
    from huggingface_hub.utils import get_session, hf_raise_for_status  # type: ignore[attr-defined]

    have = part.tell()
    headers = request_headers()
    if have:
        headers["Range"] = f"bytes={have}-"
    with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT_SECONDS, follow_redirects=True) as answer:
        hf_raise_for_status(answer)
        if have and answer.status_code != 206:  # the whole file comes again
            meter.add(-have, fetched=False)
            part.truncate(0)
            have = 0
        for chunk in answer.iter_bytes():
            have += len(chunk)
            if have > size:  # more than the hub lists: the hash cannot be right any more
                break
            part.write(chunk)
            meter.add(len(chunk))
    part.flush()
    return have
