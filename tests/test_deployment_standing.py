"""How a deployment stands: a server that dies over and over, and what its board does not do for it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pillm
from pillm.deployment.place import Place
from pillm.deployment.standing import json_of, notes_of, standing_of
from pillm.testing import LoopbackBoard, missing_for_board
from pillm.testing.standin import write_stand_in, write_stand_in_model
from tests.deploys import Answers, Field


@contextmanager
def a_board(**programs: str) -> Iterator[Field]:
    """Give a board on which nothing is deployed yet, with programs of its own before the system's."""
    if lacking := missing_for_board():
        pytest.skip(lacking)
    with tempfile.TemporaryDirectory(prefix="b") as folder, LoopbackBoard(Path(folder) / "b") as board:
        own = board.home / "bin"
        own.mkdir()
        for name, text in programs.items():
            (own / name).write_text(f"#!/bin/sh\n{text}\n")
            (own / name).chmod(0o755)
        board.environment(PATH=f"{own}:/usr/bin:/bin:/usr/sbin:/sbin")
        files = [write_stand_in_model(board.folder / f"{name}.gguf", name) for name in ("old", "new")]
        server = write_stand_in(board.folder / "llama-server")
        yield Field(board=board, server=str(server), old=files[0], new=files[1], answers=("old", "new"))


def standing(served: Field) -> dict[str, Any]:
    with served.board.remote() as remote:
        return standing_of(remote, pillm.Service(server=served.server))


def test_a_server_that_dies_at_once_is_given_up_and_said_and_can_be_started_again() -> None:
    with a_board(
        sleep='[ "$1" = 2 ] && exec /bin/sleep 2\nexec /bin/sleep 0.02'
    ) as served:  # the waits between are not what is tested
        served.deploy(0)
        root = served.board.home / ".local" / "share" / "pillm" / "served" / "default"
        model = (root / "current" / "model.gguf").resolve()
        sound = model.read_bytes()
        write_stand_in_model(model, "old", exit=109)  # as one that is killed for want of memory
        pid = int(next((root / "run").glob("*.server")).read_text().split()[0])
        os.kill(pid, 9)
        until = time.monotonic() + 30
        while not (found := standing(served))["given_up"] and time.monotonic() < until:
            time.sleep(0.1)
        assert (found["crashes"], found["healthy"], found["running"]["server"]) == (10, False, False)
        assert "out of memory" in found["last_end"]
        (said,) = [note for note in found["notes"] if "given up" in note]
        assert "ended 10 times in a row (it was killed, most often because the device is out of memory)" in said
        assert "--restart" in said
        model.write_bytes(sound)
        assert served.deploy(0).state == "restarted"
        assert Answers(served.port).once() == "old"
        found = standing(served)
        assert (found["crashes"], found["given_up"], found["healthy"]) == (0, False, True)
        assert found["up_seconds"] < 30


MANAGER = """case $* in
*is-active*) echo active ;;
*restart*) setsid sh "$HOME/.local/share/pillm/served/default/serve.sh" serve </dev/null >/dev/null 2>&1 & ;;
esac"""


def test_who_is_not_lingering_is_told_so_with_the_remedy() -> None:
    lingering = 'echo "$@" >>"$PILLM_BOARD/loginctl"\ncase $* in *show-user*) cat "$PILLM_BOARD/lingers" ;; *) exit 1 ;; esac'
    with a_board(systemctl=MANAGER, loginctl=lingering) as served:
        (served.board.folder / "lingers").write_text("no\n")
        with served.board.remote() as remote:
            place = replace(Place.find(remote, "default"), port=served.port)
            place.install()
            place.ask("ensure")
            (said,) = notes_of(place, place.standing())
            assert "logged in" in said
            assert "sudo loginctl enable-linger " in said
            assert "enable-linger\n" in (served.board.folder / "loginctl").read_text(), "it is tried first"
            (served.board.folder / "lingers").write_text("yes\n")
            assert notes_of(place, place.standing()) == ()


def test_a_kernel_that_does_not_count_memory_is_said(board: LoopbackBoard) -> None:
    with board.remote() as remote:
        place = Place.find(remote, "default")
        managed = {"by": "systemd", "server": "7", "keeper": "6"}
        assert "cgroup_enable=memory" in "".join(notes_of(place, managed))
        assert notes_of(place, managed | {"memory_max": "3000000000"}) == ()
        assert "ended 3 times (it crashed" in notes_of(place, managed | {"memory_max": "1", "deaths": "3", "exit": "139"})[0]
        with pytest.raises(pillm.DataError, match="missing or damaged"):
            json_of(place, "/etc/hostname")
