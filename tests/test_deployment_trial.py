"""A release on trial: it takes the place only when it is healthy and answers right; meanwhile and else the old one answers."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pillm
from pillm.deployment.place import Place
from pillm.deployment.ports import who_has
from pillm.deployment.standing import logs_of
from pillm.remote.conversation import Conversation
from pillm.testing import missing_for_board
from pillm.testing.standin import write_stand_in_model
from tests.deploys import Answers, Field, a_field, break_everywhere, bundle, free_port, run_service


@pytest.mark.parametrize(
    ("behaviour", "expected", "said"),
    [
        ({"exit": 3}, "x", r"the new server ended: status 3\. It last said: .*cannot load this"),
        pytest.param({"exit": 104}, "x", "built for another CPU", marks=pytest.mark.full),
        pytest.param({"exit": 109}, "x", r"out of memory.*; the device has [\d.]+ .B left", marks=pytest.mark.full),
        pytest.param({"sick": True}, "x", "was not ready after 1 s", marks=pytest.mark.full),
        ({}, "y", "the smoke test failed: it answered 'x', and 'y' was expected"),
    ],
)
def test_a_release_that_fails_never_answers(
    served: Field, tmp_path: Path, behaviour: dict[str, Any], expected: str, said: str
) -> None:
    model = write_stand_in_model(tmp_path / "x.gguf", "x", **behaviour)
    answers = Answers(served.port)
    service = pillm.Service(port=served.port, server=served.server, wait=1.0, context=256)
    with answers.asked(), served.board.remote() as remote, pytest.raises(pillm.BackendError, match=said) as failed:
        pillm.deploy(bundle(model, expected), remote, service)
    assert str(failed.value).endswith("The release that answered before still answers.")
    assert str(failed.value).startswith("board: ")
    assert set(answers.said) == {"old"}
    assert answers.errors == []
    assert served.strays() == []


def test_a_first_release_that_fails_leaves_nothing_that_runs_and_claims_no_port(served: Field, tmp_path: Path) -> None:
    port = free_port()
    service = pillm.Service(name="other", port=port, server=served.server, wait=20)
    with served.board.remote() as remote:
        with pytest.raises(pillm.BackendError, match=r"the smoke test failed.*Nothing is served there yet"):
            pillm.deploy(bundle(write_stand_in_model(tmp_path / "x.gguf", "x"), "y"), remote, service)
        found = [Path(f"/proc/{pid}/cmdline") for pid in served.board.processes()]
        assert [path for path in found if path.exists() and b"/served/other/" in path.read_bytes()] == []
        assert who_has(Place.find(remote, "default"), port) is None
        place = Place.find(remote, "other")
        assert (place.port, place.current) == (None, None)
        assert list((Path(place.root) / "files").iterdir()) == [], "what failed its test need not be kept"
        assert "arguments:" in logs_of(remote, service, release="last-failed")
        with pytest.raises(pillm.ConfigError, match=f"port {served.port} is that of the model served as 'default'"):
            pillm.deploy(bundle(served.new, "new"), remote, replace(service, port=served.port), dry_run=True)
    assert Answers(served.port).once() == "old"


@pytest.mark.full
def test_a_card_that_takes_no_link_any_more_commits_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    if lacking := missing_for_board():
        pytest.skip(lacking)
    card = Path(tempfile.mkdtemp(prefix="c"))  # a short path, for the sake of the sockets
    monkeypatch.setattr(tempfile, "tempdir", str(card))  # the whole board stands on it
    mount = ["mount", "-t", "tmpfs", "-o", "size=300m,nr_inodes=600", "tmpfs", str(card)]
    if os.getuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs user namespaces, or to be root: a small file system cannot be made")
    ask, filled = Conversation.ask, card / "filled"

    def filling(talk: Conversation, word: str, *, timeout: float) -> str:
        if word == "commit":
            filled.mkdir()
            with suppress(OSError):
                for number in range(1000):
                    (filled / str(number)).touch()
        return ask(talk, word, timeout=timeout)

    try:
        with a_field() as served:
            served.deploy(1)
            served.deploy(0)
            root = served.board.home / ".local" / "share" / "pillm" / "served" / "default"
            links = [root / "current", root / "previous", root / "run" / "front.sock"]
            before = [link.readlink() for link in links]
            third = write_stand_in_model(served.board.folder / "third.gguf", "third")
            monkeypatch.setattr(Conversation, "ask", filling)
            with (
                served.board.remote() as remote,
                pytest.raises(pillm.StorageError, match=r"could not be turned .*No space left"),
            ):
                run_service(bundle(third, "third"), remote, served.server, served.port)
            assert [link.readlink() for link in links] == before
            assert Answers(served.port).once() == "old"
            monkeypatch.setattr(Conversation, "ask", ask)
            shutil.rmtree(filled)
            with served.board.remote() as remote:
                assert run_service(bundle(third, "third"), remote, served.server, served.port).state == "deployed"
            assert Answers(served.port).once() == "third"
    finally:
        subprocess.run(["umount", "-l", str(card)], check=True)
        card.rmdir()


def test_nobody_is_refused_while_one_release_takes_the_place_of_another(served: Field) -> None:
    answers = Answers(served.port)
    with answers.asked():
        done = served.deploy(1)
        served.deploy(0)
    assert done.state == "deployed"
    assert re.fullmatch("(old)+(new)+(old)*", "".join(answers.said)), answers.said
    assert answers.errors == []


@pytest.mark.full
def test_an_answer_that_was_begun_is_finished_by_the_old_server(served: Field, tmp_path: Path) -> None:
    slow = write_stand_in_model(tmp_path / "slow.gguf", "slow", think=0.4)
    with served.board.remote() as remote:
        run_service(bundle(slow, "slow"), remote, served.server, served.port)
    said: list[str] = []
    asking = threading.Thread(target=lambda: said.append(Answers(served.port).once()))
    asking.start()
    served.deploy(0)
    asking.join()
    assert said == ["slow"]
    assert Answers(served.port).once() == "old"


@pytest.mark.full
def test_two_deployments_at_once_do_not_mix(served: Field) -> None:
    lock = served.board.home / ".local" / "share" / "pillm" / "served" / "default" / "lock"
    with lock.open("w") as other, served.board.remote() as remote:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(pillm.Unavailable, match="another deployment is under way there"):
            run_service(bundle(served.new, "new"), remote, served.server, served.port)
    assert Answers(served.port).once() == "old"


@pytest.mark.parametrize("how", ["kill", pytest.param("cut", marks=pytest.mark.full)])
def test_the_same_command_finishes_what_was_broken(served: Field, how: str) -> None:
    count = break_everywhere(served, how, range(11, 12), words=False)
    assert (count.broken, count.refused, count.wrong, count.strays, count.unfinished) == (1, 0, 0, 0, 0)
    assert count.asked > 20


@pytest.mark.full
@pytest.mark.parametrize("how", ["kill", "cut"])
def test_broken_at_every_step_the_old_model_answers(served: Field, how: str) -> None:
    count = break_everywhere(served, how)
    assert (count.refused, count.wrong, count.strays, count.unfinished) == (0, 0, 0, 0)
    assert count.broken >= count.commands - 1  # a cut between two commands is mended by the next one
