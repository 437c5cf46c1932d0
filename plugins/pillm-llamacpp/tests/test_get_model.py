"""get_model.sh: a file arrives whole and checked, or not at all; a loopback server stands for the hub."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pillm_llamacpp_boardtools import RPI4, Board, script
from pillm_llamacpp_loopback import Hub


def get(board: Board, hub: Hub, *words: object, expect: int = 0) -> subprocess.CompletedProcess[str]:
    script(
        board.bin / "curl",
        'for word; do [ "$word" != 3 ] || word=0; set -- "$@" "$word"; shift; done; exec /usr/bin/curl "$@"',
    )
    return board.run("get_model.sh", "--out", board.home / "mes modèles", *words, expect=expect, HF_ENDPOINT=hub.url)


def files(board: Board) -> dict[str, bytes]:
    folder = board.home / "mes modèles"
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


@pytest.mark.parametrize("name", ["tinyllama", "qwen2.5-0.5b"])
def test_a_named_model_is_of_a_pinned_revision_with_a_pinned_hash(board: Board, hub: Hub, tmp_path: Path, name: str) -> None:
    said = get(board, hub, name, expect=6).stderr
    (pinned,) = re.findall(r"it must be ([0-9a-f]{64})\.", said)
    assert "is another file now" in said
    assert re.fullmatch(r"HEAD /\w+/[\w.-]+-GGUF/resolve/[0-9a-f]{40}/[\w.-]+\.gguf", hub.asked[0])
    assert board.listing() == {}
    hub.headers = {}  # a hub that says nothing, and sends another file
    assert f"not {pinned}" in get(board, hub, name, expect=6).stderr
    assert files(board) == {}
    scripts = shutil.copytree(RPI4, tmp_path / "rpi4")
    text = (scripts / "get_model.sh").read_text()
    (scripts / "get_model.sh").write_text(text.replace(pinned, hashlib.sha256(hub.body).hexdigest()))
    done = board.run(str(scripts / "get_model.sh"), "--out", board.home / "mes modèles", name, HF_ENDPOINT=hub.url)
    path = Path(done.stdout.strip())
    assert path.read_bytes() == hub.body
    assert set(files(board)) == {path.name, f"{path.name}.sha256"}
    subprocess.run(["sha256sum", "--status", "-c", f"{path.name}.sha256"], cwd=path.parent, check=True)


def test_a_file_that_came_once_must_be_the_same_the_next_time(board: Board, hub: Hub) -> None:
    url, was = f"{hub.url}/a/model.gguf", hashlib.sha256(hub.body).hexdigest()
    said = get(board, hub, url).stderr
    assert f"sha256 {was}, kept in" in said
    (board.home / "mes modèles" / "model.gguf").unlink()
    hub.body = hub.body[::-1]
    now = hashlib.sha256(hub.body).hexdigest()
    for headers, complaint in (({"X-Linked-ETag": now}, f"--sha256 {now}"), ({}, f"has sha256 {now}, not {was}")):
        hub.headers = headers
        assert complaint in get(board, hub, url, expect=6).stderr
        assert set(files(board)) == {"model.gguf.sha256"}
    get(board, hub, "--sha256", now, url)
    assert files(board)["model.gguf"] == hub.body
    assert now in files(board)["model.gguf.sha256"].decode()


def test_what_is_there_is_not_downloaded_again(board: Board, hub: Hub) -> None:
    get(board, hub, f"{hub.url}/a/model.gguf")
    asked, before = len(hub.asked), board.listing()
    assert "is there and whole" in get(board, hub, f"{hub.url}/a/model.gguf").stderr
    assert (len(hub.asked), board.listing()) == (asked, before)


def test_an_interrupted_download_goes_on_where_it_was(board: Board, hub: Hub) -> None:
    hub.break_after = 30_000
    assert "what came is kept" in get(board, hub, f"{hub.url}/a/model.gguf", expect=5).stderr
    (part,) = files(board).values()
    assert part == hub.body[:30_000]
    hub.break_after = None
    get(board, hub, f"{hub.url}/a/model.gguf")
    assert files(board)["model.gguf"] == hub.body
    assert hub.served == len(hub.body)


@pytest.mark.parametrize("place", ["moved", "elsewhere"])
@pytest.mark.parametrize("broken", [False, True])
def test_a_file_that_moved_is_found_checked_and_gone_on_with(board: Board, hub: Hub, place: str, broken: bool) -> None:
    if broken:
        hub.break_after = 30_000
        get(board, hub, f"{hub.url}/{place}/model.gguf", expect=5)
        hub.break_after = None
    get(board, hub, f"{hub.url}/{place}/model.gguf")
    assert files(board)["model.gguf"] == hub.body
    assert hub.served == len(hub.body)


def test_a_part_that_is_whole_gets_its_name_without_another_byte(board: Board, hub: Hub) -> None:
    sha256 = hashlib.sha256(hub.body).hexdigest()
    folder = board.home / "mes modèles"
    folder.mkdir()
    (folder / f".model.gguf.{sha256[:16]}.part").write_bytes(hub.body)
    get(board, hub, f"{hub.url}/a/model.gguf")
    assert files(board)["model.gguf"] == hub.body
    assert hub.served == 0


def test_a_hash_of_ones_own_is_enough_where_a_server_sends_on_and_says_nothing(board: Board, hub: Hub) -> None:
    sha256 = hashlib.sha256(hub.body).hexdigest()
    hub.headers, hub.break_after = {}, 30_000
    get(board, hub, "--sha256", sha256, f"{hub.url}/elsewhere/model.gguf", expect=5)
    hub.break_after = None
    get(board, hub, "--sha256", sha256, f"{hub.url}/elsewhere/model.gguf")
    assert hub.served == len(hub.body)


def test_a_server_without_ranges_is_asked_from_the_beginning(board: Board, hub: Hub) -> None:
    hub.break_after = 30_000
    get(board, hub, f"{hub.url}/a/model.gguf", expect=5)
    hub.break_after, hub.ranges = None, False
    get(board, hub, f"{hub.url}/a/model.gguf")
    assert files(board)["model.gguf"] == hub.body


def test_a_part_of_another_version_of_the_file_is_not_gone_on_with(board: Board, hub: Hub) -> None:
    hub.break_after = 30_000
    get(board, hub, f"{hub.url}/a/model.gguf", expect=5)
    hub.body, hub.break_after = hub.body[::-1], None
    hub.headers = {"X-Linked-ETag": hashlib.sha256(hub.body).hexdigest()}
    get(board, hub, f"{hub.url}/a/model.gguf")
    assert files(board)["model.gguf"] == hub.body


def test_what_is_not_the_file_is_removed_and_never_gets_its_name(board: Board, hub: Hub) -> None:
    hub.headers = {}
    said = get(board, hub, "--sha256", "A" * 64, f"{hub.url}/a/model.gguf", expect=6).stderr
    assert f"not {'a' * 64}" in said
    assert files(board) == {}


def test_a_file_whose_hash_nobody_tells_is_not_downloaded(board: Board, hub: Hub) -> None:
    for told in ("", "abc", "x" * 64, "../../etc/passwd"):
        hub.headers = {"X-Linked-ETag": told}
        assert "Give it with --sha256" in get(board, hub, f"{hub.url}/a/model.gguf", expect=6).stderr
    assert files(board) == {}
    get(board, hub, "--sha256", hashlib.sha256(hub.body).hexdigest(), f"{hub.url}/a/model.gguf")
    assert files(board)["model.gguf"] == hub.body


def test_a_file_of_that_name_which_is_another_is_left_alone(board: Board, hub: Hub) -> None:
    path = board.home / "mes modèles" / "model.gguf"
    path.parent.mkdir()
    path.write_text("mine")
    assert "nobody says what it should be" in get(board, hub, f"{hub.url}/a/model.gguf", expect=2).stderr
    assert "left alone" in get(board, hub, "--sha256", "a" * 64, f"{hub.url}/a/model.gguf", expect=6).stderr
    assert path.read_text() == "mine"


def test_a_dry_run_asks_and_changes_nothing(board: Board, hub: Hub) -> None:
    said = get(board, hub, "--dry-run", f"{hub.url}/a/model.gguf").stderr
    assert "nothing was changed" in said
    assert "No such file" not in said
    assert f"{len(hub.body)} bytes, 0 of them here" in said
    assert board.listing() == {}
    assert all(asked.startswith("HEAD") for asked in hub.asked)


def test_a_disk_without_room_is_told_before_the_download(board: Board, hub: Hub) -> None:
    script(board.bin / "df", "echo Filesystem; echo /dev/sd 1 1 20000 1 /")
    assert "needs 50 MB" in get(board, hub, f"{hub.url}/a/model.gguf", expect=1).stderr
    assert all(asked.startswith("HEAD") for asked in hub.asked)


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("http://example.com/m.gguf", 6), ("ftp://x/m.gguf", 2), ("gpt-9", 2), ("https://x/..gguf", 6),
        ("https://x/a b.gguf", 6), ("https://x/m.bin", 2), ("https://127.0.0.1:1/m.gguf", 5),
    ],
)  # fmt: skip
def test_what_is_no_model_of_a_safe_place_is_refused(board: Board, hub: Hub, what: str, code: int) -> None:
    get(board, hub, what, expect=code)
    assert files(board) == {}


def test_a_model_that_is_not_there_is_told(board: Board, hub: Hub) -> None:
    assert "there is no" in get(board, hub, f"{hub.url}/missing/m.gguf", expect=2).stderr
