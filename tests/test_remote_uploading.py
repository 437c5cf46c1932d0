"""Files sent to a board: whole or not at all, continued, checked there."""

from __future__ import annotations

import hashlib
import os
import random
import re
import threading
import time
from pathlib import Path

import pytest

import pillm
from pillm.progress import Event, Progress
from pillm.remote import uploading
from pillm.testing import LoopbackBoard

BIG = 6_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(random.Random(0).randbytes(BIG))
    return path


def sum_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sent(events: list[Event]) -> int:
    return max((event.done for event in events), default=0)


def test_a_file_is_sent_once(board: LoopbackBoard, file: Path) -> None:
    events: list[Event] = []
    with board.remote() as remote:
        target = remote.upload(file, "~/models", sum_of(file), Progress("upload", (events.append,)))
        assert remote.upload(file, "~/models", sum_of(file)) == target
    assert Path(target).read_bytes() == file.read_bytes()
    assert [path.name for path in (board.home / "models").iterdir()] == [Path(target).name]
    assert sent(events) == BIG
    assert sum("cat >>" in line for line in board.commands) == 1


def test_what_pillm_has_there_already_is_linked_and_not_sent(board: LoopbackBoard, file: Path) -> None:
    with board.remote() as remote:
        first = remote.upload(file, "~/.cache/pillm/models", sum_of(file))
        second = remote.upload(file, "~/.local/share/pillm/served/default/files", sum_of(file))
        assert Path(first).stat().st_ino == Path(second).stat().st_ino
        Path(first).write_bytes(b"damaged")  # and so its twin
        third = remote.upload(file, "~/elsewhere", sum_of(file))
    assert Path(third).read_bytes() == file.read_bytes(), "what is no longer the file is not linked"
    assert sum("cat >>" in line for line in board.commands) == 2


def test_the_cache_makes_room_the_oldest_first(board: LoopbackBoard, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = board.home / ".cache" / "pillm" / "models"
    cache.mkdir(parents=True)
    for age, name in enumerate(("new.gguf", "old.gguf")):
        (cache / name).write_bytes(b"x")
        os.utime(cache / name, (1e9 - age, 1e9 - age))
    monkeypatch.setattr(uploading, "_SPARE", 1 << 60)
    notes: list[Event] = []
    with board.remote() as remote, pytest.raises(pillm.StorageError, match="Nothing was sent"):
        remote.upload(file, "~/models", sum_of(file), Progress("upload", (notes.append,)))
    assert list(cache.iterdir()) == []
    assert any("2 files that runner pi4 kept" in (event.message or "") for event in notes)


def test_a_broken_upload_continues_where_it_stopped(board: LoopbackBoard, file: Path) -> None:
    half = BIG // 2
    events: list[Event] = []
    (board.home / "models").mkdir()
    part = board.home / "models" / f"{sum_of(file)[:16]}-{file.name}.part"
    part.write_bytes(file.read_bytes()[:half])
    with board.remote() as remote:
        target = remote.upload(file, str(board.home / "models"), sum_of(file), Progress("upload", (events.append,)))
    assert Path(target).read_bytes() == file.read_bytes()
    assert next(event.done for event in events if event.kind == "advance") == half
    assert not part.exists()


@pytest.mark.parametrize("wrong", ["other bytes", "too long", "target"])
def test_what_is_not_a_beginning_of_the_file_is_not_continued(board: LoopbackBoard, file: Path, wrong: str) -> None:
    (board.home / "models").mkdir()
    target = board.home / "models" / f"{sum_of(file)[:16]}-{file.name}"
    part = target.with_name(f"{target.name}.part")
    part.write_bytes(b"x" * (BIG + 5 if wrong == "too long" else 999))
    if wrong == "target":
        target.write_bytes(b"damaged")
    with board.remote() as remote:
        remote.upload(file, "~/models", sum_of(file))
    assert target.read_bytes() == file.read_bytes()


def test_a_cut_connection_keeps_what_arrived(board: LoopbackBoard, file: Path) -> None:
    def cut_on_the_way(event: Event) -> None:
        if event.done > BIG // 2 and event.kind == "advance" and not once.is_set():
            once.set()
            board.cut()

    once = threading.Event()
    with board.remote() as remote:
        with pytest.raises(pillm.Unavailable, match=r"connection broke.*continues there"):
            remote.upload(file, "~/models", sum_of(file), Progress("upload", (cut_on_the_way,)))
        time.sleep(0.3)
        events: list[Event] = []
        target = remote.upload(file, "~/models", sum_of(file), Progress("upload", (events.append,)))
    assert Path(target).read_bytes() == file.read_bytes()
    assert [event.message for event in events if "continues at" in event.message]


def test_a_full_board_keeps_nothing_half_and_says_so(board: LoopbackBoard, file: Path) -> None:
    board.limit(BIG // 2)
    with board.remote() as remote, pytest.raises(pillm.StorageError, match="no space is left there"):
        remote.upload(file, "~/models", sum_of(file))
    board.healthy()
    assert [path.name for path in (board.home / "models").iterdir() if not path.name.endswith(".part")] == []


def test_too_little_space_is_said_before_a_byte_is_sent(
    board: LoopbackBoard, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "_SPARE", 1 << 60)
    with board.remote() as remote, pytest.raises(pillm.StorageError, match="Nothing was sent"):
        remote.upload(file, "~/models", sum_of(file))
    assert list((board.home / "models").iterdir()) == []


def test_a_file_that_changed_meanwhile_is_refused(board: LoopbackBoard, file: Path) -> None:
    with board.remote() as remote, pytest.raises(pillm.DataError, match="changed since"):
        remote.upload(file, "~/models", "0" * 64)
    assert list((board.home / "models").iterdir()) == []


def test_hostile_names_of_files_become_plain_ones(board: LoopbackBoard, tmp_path: Path) -> None:
    with board.remote() as remote:
        for number, name in enumerate(
            ["$(touch evil)", "; touch evil #", "`touch evil`", "-rf", "a\nb", "é ü", "'", "x" * 250]
        ):
            path = tmp_path / name
            path.write_bytes(bytes([number]))
            target = remote.upload(path, "~/$(touch evil); touch evil", sum_of(path))
            assert Path(target).read_bytes() == bytes([number])
            assert re.fullmatch(r"[0-9a-f]{16}-[A-Za-z0-9._-]{1,80}", Path(target).name)
    assert not list(board.home.rglob("evil"))
