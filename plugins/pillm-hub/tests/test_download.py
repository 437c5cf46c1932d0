"""Downloads: several at a time, counted in bytes, going on where they were cut, kept only where the hash is right."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from pillm_hub import HubSource, download
from pillm_hub.cache import Cache

import pillm
from pillm.testing import FakeHub
from pillm.testing.hubstate import SAMPLE

WEIGHTS = SAMPLE["model.safetensors"]
Get = Callable[..., Path]
BLOB = hashlib.sha256(WEIGHTS).hexdigest()


def ranges(hub: FakeHub) -> list[str]:
    """Return what was asked for of large files."""
    return [call.range for call in hub.calls if call.path.startswith("/large/")]


def test_progress_counts_bytes_and_says_percent_and_rate(get: Get, events: list[pillm.Event]) -> None:
    get(progress=pillm.Progress("fetch", (events.append,)))
    first, *steps = [event for event in events if event.kind in ("start", "advance")]
    assert (first.unit, first.total) == ("bytes", sum(map(len, SAMPLE.values())))
    assert all(set(event.figures) == {"percent", "bytes_per_second"} for event in steps)
    assert all(one.done <= other.done for one, other in pairwise(steps))
    assert (steps[-1].done, steps[-1].figures["percent"]) == (first.total, 100.0)


def test_a_cut_connection_is_opened_again_where_it_broke(hub: FakeHub, get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.01)
    hub.cut = [3000, 0, 2000]
    assert (get() / "model.safetensors").read_bytes() == WEIGHTS
    assert ranges(hub) == ["", "bytes=3000-", "bytes=3000-", "bytes=5000-"]


def test_a_download_that_is_cut_for_good_is_kept_and_the_same_command_goes_on(
    hub: FakeHub, get: Get, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: list[pillm.Event]
) -> None:
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.01)
    hub.cut = [4000, *[0] * download.ATTEMPTS]
    with pytest.raises(pillm.Unavailable, match="What was fetched is kept, and the same command goes on"):
        get()
    left = list(tmp_path.rglob("*.incomplete"))
    assert [path.stat().st_size for path in left] == [4000]
    hub.calls.clear()
    assert (get(progress=pillm.Progress("fetch", (events.append,))) / "model.safetensors").read_bytes() == WEIGHTS
    assert ranges(hub) == ["bytes=4000-"]
    assert hub.read() == [path for path in hub.read() if path.endswith("model.safetensors")]
    assert not list(tmp_path.rglob("*.incomplete"))


FETCH = """
import sys
from pathlib import Path
import pillm
from pillm_hub import HubSource
source = HubSource(endpoint=sys.argv[1], cache=Path(sys.argv[2]))
source.fetch(source.find("acme/tiny"), pillm.Progress())
"""


def test_a_killed_download_goes_on_from_its_last_byte(hub: FakeHub, source: HubSource, get: Get, tmp_path: Path) -> None:
    weights = os.urandom(30_000_000)
    hub.put("acme/tiny", {**SAMPLE, "model.safetensors": weights})
    hub.slow = 0.05
    process = subprocess.Popen([sys.executable, "-c", FETCH, hub.endpoint, str(tmp_path / "cache")])
    ends = time.monotonic() + 30
    part = Cache.of("acme/tiny", tmp_path / "cache").blob(f"sha256:{hashlib.sha256(weights).hexdigest()}")
    part = part.with_suffix(".pillm.incomplete")
    while not (part.is_file() and part.stat().st_size > 100_000) and time.monotonic() < ends:
        time.sleep(0.01)
    process.kill()
    process.wait()
    had = part.stat().st_size
    assert 100_000 < had < len(weights)
    hub.slow = 0.0
    hub.calls.clear()
    assert (get() / "model.safetensors").read_bytes() == weights
    assert ranges(hub) == [f"bytes={had}-"]


LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"


def test_a_full_disk_is_a_sentence_and_what_came_is_kept(hub: FakeHub, get: Get, tmp_path: Path) -> None:
    weights = os.urandom(300_000)
    hub.put("acme/tiny", {**SAMPLE, "model.safetensors": weights})
    done = subprocess.run(
        [sys.executable, "-c", LIMITED + FETCH, hub.endpoint, str(tmp_path / "cache")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "StorageError: acme/tiny@" in done.stderr
    assert "no space is left on the disk. What was fetched is kept" in done.stderr
    assert [path.stat().st_size for path in tmp_path.rglob("*.incomplete")] == [100_000]
    assert (get() / "model.safetensors").read_bytes() == weights
    assert "bytes=100000-" in ranges(hub)


def test_a_server_that_ignores_the_range_starts_the_file_anew(hub: FakeHub, get: Get, tmp_path: Path) -> None:
    part = Cache.of("acme/tiny", tmp_path / "cache").blob(f"sha256:{BLOB}").with_suffix(".pillm.incomplete")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"something else")
    hub.ranges = False
    assert (get() / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize("forged", [WEIGHTS[:-1] + b"X", WEIGHTS + b"more", WEIGHTS[:500]])
def test_other_bytes_than_the_listed_ones_never_get_the_name(hub: FakeHub, get: Get, tmp_path: Path, forged: bytes) -> None:
    hub.forge = {"model.safetensors": forged}
    with pytest.raises((pillm.UnsafeError, pillm.Unavailable)) as refused:
        get()
    assert isinstance(refused.value, pillm.UnsafeError) == (len(forged) >= len(WEIGHTS)), refused.value
    assert not list(tmp_path.rglob("model.safetensors"))
    assert not list(tmp_path.rglob(BLOB))


def test_the_token_goes_to_the_hub_and_not_to_its_stores(hub: FakeHub, get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    get()
    assert {call.token for call in hub.calls if call.path.startswith("/large/")} == {""}
    assert {call.token for call in hub.calls if not call.path.startswith("/large/")} == {hub.token}


def test_an_interrupt_ends_the_download_at_once_and_keeps_what_came(hub: FakeHub, source: HubSource, tmp_path: Path) -> None:
    weights = os.urandom(30_000_000)
    hub.put("acme/tiny", {**SAMPLE, "model.safetensors": weights})
    hub.slow = 0.05

    once = [signal.SIGINT]

    def stop(event: pillm.Event) -> None:
        if event.kind == "advance" and event.done > 200_000 and once:
            os.kill(os.getpid(), once.pop())

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        source.fetch(source.find("acme/tiny"), pillm.Progress("fetch", (stop,)))
    assert time.monotonic() - began < 10
    assert [path.stat().st_size > 100_000 for path in tmp_path.rglob("*.incomplete")] == [True]
