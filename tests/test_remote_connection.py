"""The shared connection: one handshake, and hosts that are names."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pillm
from pillm.remote.connection import Connection, checked_host
from pillm.testing import LoopbackBoard


@pytest.mark.parametrize("host", ["pi", "pi@raspberrypi.local", "10.0.0.7", "fe80::1%eth0", "_x@a-b"])
def test_names_are_hosts(host: str) -> None:
    assert checked_host(host) == host


@pytest.mark.parametrize("host", ["", "-oProxyCommand=x", "pi@-x", "-x@pi", "a b", "a;b", "$(x)", "a/b", "a\nb", "a@b@c"])
def test_what_ssh_or_a_shell_could_misread_is_no_host(host: str) -> None:
    with pytest.raises(pillm.ConfigError, match="no host"):
        checked_host(host)


@given(st.text())
def test_no_accepted_host_holds_what_a_shell_reads(host: str) -> None:
    try:
        checked_host(host)
    except pillm.ConfigError:
        return
    assert not host.startswith("-")
    assert not set(host) & set(" \t\n'\"\\$`;&|<>(){}*?!#~/=")


def test_many_commands_cost_one_handshake(board: LoopbackBoard) -> None:
    with board.remote() as remote:
        remote.run(["true"])
        for _ in range(5):
            remote.run(["true"])
    assert (board.folder / "sshd.log").read_text().count("Accepted") == 1


def test_a_file_of_known_hosts_that_ssh_would_misread_is_refused() -> None:
    for name in ('a"b', "a\\b", "${HOME}"):
        with pytest.raises(pillm.ConfigError, match="known hosts"):
            Connection("pi", None, Path(name)).options()


def test_a_socket_there_is_reached_through_a_socket_here(board: LoopbackBoard) -> None:
    with tempfile.TemporaryDirectory() as short, board.remote() as remote:
        there = Path(short) / "there"
        with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as asking:
            listening.bind(str(there))
            listening.listen()
            remote.connect()
            with remote.connection.forward(str(there)) as here:
                asking.connect(str(here))
                answering, _ = listening.accept()
                with answering:
                    answering.sendall(b"hello")
                    assert asking.recv(5) == b"hello"
            assert not here.exists()
