"""A port of a board is looked at before anything is sent to it."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

import pillm
from pillm.deployment.place import Place
from pillm.deployment.ports import port_for, who_has
from pillm.testing import LoopbackBoard


def test_who_has_a_port_is_named(board: LoopbackBoard) -> None:
    with socket.socket() as taken, board.remote() as remote:
        taken.bind(("127.0.0.1", 0))
        port = int(taken.getsockname()[1])
        place = Place.find(remote, "mine")
        assert who_has(place, port) is None, "bound, and nobody listens"
        taken.listen()
        assert f"(process {os.getpid()})" in (who_has(place, port) or "")
        with pytest.raises(pillm.ConfigError, match=rf"port {port} is taken by .* Nothing was sent\. Choose another --port"):
            port_for(place, pillm.Service(name="mine", port=port))
        served = Path(place.root).with_name("other")
        served.mkdir(parents=True)
        (served / "port").write_text(f"{port}\n")
        assert "is taken by" in (who_has(place, port) or ""), "a name under which nothing ever answered has no port"
        (served / "current").symlink_to("releases/0a1b")
        assert who_has(place, port) == "is that of the model served as 'other'"


def test_a_port_stays_until_nothing_answers_there(board: LoopbackBoard) -> None:
    with board.remote() as remote:
        place = replace(Place.find(remote, "mine"), port=8123)
        with pytest.raises(pillm.ConfigError, match="answers at port 8123, and whoever asks it relies on that"):
            port_for(place, pillm.Service(port=8124))
        assert port_for(place, pillm.Service(port=8123)) == port_for(place, pillm.Service()) == 8123
        folder = Path(place.root)
        folder.mkdir(parents=True)
        (folder / "port").write_text("8123\n")
        assert Place.find(remote, "mine").port is None, "what an older pillm wrote before its first release failed"
