"""A deployment is started anew, stopped and removed; whoever kills a part of it, the keeper brings it back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import pillm
from pillm.deployment.standing import standing_of
from pillm.deployment.tending import remove, restart, stop
from tests.deploys import Answers, Field, bundle, free_port, run_service


def place_of(served: Field) -> Path:
    return served.board.home / ".local" / "share" / "pillm" / "served" / "default"


def kill(served: Field, *records: str) -> None:
    for name in records:
        with suppress(ProcessLookupError):
            os.kill(int((place_of(served) / "run" / name).read_text().split()[0]), 9)


def soon(what: Callable[[], object], seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(OSError):
            if what():
                return True
        time.sleep(0.1)
    return False


@pytest.mark.full
@pytest.mark.parametrize("who", ["front", "server"])
def test_who_loses_its_keeper_and_its_life_is_back_by_itself(served: Field, who: str) -> None:
    record = "front" if who == "front" else f"{(place_of(served) / 'current').resolve().name}.server"
    keeper = f"{record.removesuffix('.server')}.keeper"
    kill(served, keeper, record)
    assert soon(lambda: Answers(served.port).once() == "old")
    assert served.strays() == []


@pytest.mark.full
def test_a_keeper_that_was_killed_alone_can_be_started_again(served: Field) -> None:
    kill(served, "serve", "ticker", "front.keeper", "front")
    with served.board.remote() as remote:
        found = standing_of(remote)
        assert (found["state"], found["notes"][0]) == ("does not answer", "nothing keeps it there; --restart starts it")
        restart(remote, pillm.Service(wait=20))
    assert Answers(served.port).once() == "old"
    assert served.strays() == []


def test_what_was_stopped_by_hand_stays_stopped_until_it_is_started(served: Field) -> None:
    with served.board.remote() as remote:
        assert stop(remote)["state"] == "stopped"
        assert soon(lambda: served.board.processes() == [], 5)
        found = standing_of(remote)
        assert (found["state"], found["notes"]) == ("stopped", ["it was stopped by hand; --restart starts it"])
        script = place_of(served) / "serve.sh"
        assert remote.run(["sh", str(script), "ensure"]) == "stopped\n", "a line of crontab respects it"
        assert restart(remote, pillm.Service(wait=20))["state"] == "restarted"
        assert standing_of(remote)["state"] == "answers"
    assert Answers(served.port).once() == "old"


@pytest.mark.full
def test_what_is_removed_leaves_nothing_and_its_port_is_free(served: Field) -> None:
    port = free_port()
    with served.board.remote() as remote:
        service = pillm.Service(name="other", port=port, server=served.server, wait=20)
        pillm.deploy(bundle(served.new, "new"), remote, service)
        assert Answers(port).once() == "new"
        assert remove(remote, service)["state"] == "removed"
        assert not place_of(served).with_name("other").exists()
        with pytest.raises(ConnectionRefusedError):
            Answers(port).once()
        for does in (remove, stop, restart):
            with pytest.raises(pillm.ConfigError, match="nothing is deployed under the name 'other'"):
                does(remote, service)
        assert run_service(bundle(served.old, "old"), remote, served.server, served.port).state == "up to date"
