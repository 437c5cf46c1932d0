"""Keys of hosts: nothing is sent to a host whose key is unknown or changed."""

from __future__ import annotations

from pathlib import Path

import pytest

import pillm
from pillm.testing import LoopbackBoard


def test_an_unknown_host_is_shown_and_refused(board: LoopbackBoard, tmp_path: Path) -> None:
    with board.remote(known_hosts=tmp_path / "known") as remote, pytest.raises(pillm.UnsafeError) as refused:
        remote.run(["touch", "evil"])
    assert board.fingerprint in str(refused.value)
    assert f"--accept-host-key {board.fingerprint}" in str(refused.value)
    assert board.commands == []
    assert not (tmp_path / "known").exists()


def test_an_accepted_key_is_recorded_once_and_trusted_from_then_on(board: LoopbackBoard, tmp_path: Path) -> None:
    known = tmp_path / "a folder" / "known"
    with board.remote(known_hosts=known, accepted=(board.fingerprint,)) as remote:
        assert remote.run(["echo", "in"]) == "in\n"
    first = known.read_text()
    with board.remote(known_hosts=known) as remote:
        assert remote.run(["echo", "in"]) == "in\n"
    assert known.read_text() == first
    assert first.count("\n") == 1


def test_another_key_than_the_accepted_one_is_refused(board: LoopbackBoard, tmp_path: Path) -> None:
    other = "SHA256:" + "A" * 43
    with (
        board.remote(known_hosts=tmp_path / "known", accepted=(other,)) as remote,
        pytest.raises(pillm.UnsafeError, match="accepted was"),
    ):
        remote.run(["true"])
    assert board.commands == []


@pytest.mark.parametrize("own", [True, False])
def test_a_changed_key_is_refused_before_a_byte_is_sent(board: LoopbackBoard, tmp_path: Path, own: bool) -> None:
    known = tmp_path / "known"
    options = {"known_hosts": known, "accepted": (board.fingerprint,)} if own else {}
    with board.remote(**options) as remote:
        remote.run(["true"])
    before = known.read_bytes() if own else b""
    board.change_host_key()
    accepted = {**options, "accepted": (board.fingerprint,)} if own else {}  # not even the new one's fingerprint helps
    place = known if own else board.folder / "known_hosts"
    with board.remote(**accepted) as remote, pytest.raises(pillm.UnsafeError, match=rf"another key.* remove line 1 of {place}"):
        remote.run(["touch", "evil"])
    assert len(board.commands) == 1
    assert not own or known.read_bytes() == before


def test_a_host_that_ones_own_ssh_knows_is_spoken_to_unless_pillm_accepted_another_key(
    board: LoopbackBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    own = tmp_path / "config" / "pillm" / "known_hosts"
    with board.remote() as remote:
        assert remote.run(["echo", "in"]) == "in\n"
    assert not own.exists()
    with board.remote(accepted=(board.fingerprint,)) as remote:
        remote.run(["true"])
    assert own.read_text().count("\n") == 1
    board.change_host_key()
    board.trust()  # ssh's own file knows the new key, and pillm goes on by the one that was accepted for it
    with board.remote() as remote, pytest.raises(pillm.UnsafeError, match=rf"another key.* remove line 1 of {own}"):
        remote.run(["touch", "evil"])
    own.write_text("elsewhere ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDj5nXMhSNnRWhNKWjZ5bcQ5xYk2rAzZ0hNq2pYc1yYm\n")
    with board.remote() as remote:
        assert remote.run(["echo", "in"]) == "in\n"
    assert not (board.home / "evil").exists()


def test_a_configuration_that_asks_for_no_keys_does_not_lead_to_an_unknown_host(
    board: LoopbackBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    lax = board.ssh_config.read_text().replace("StrictHostKeyChecking yes", "StrictHostKeyChecking no")
    board.ssh_config.write_text(lax)
    (board.folder / "known_hosts").write_text("")
    with board.remote() as remote, pytest.raises(pillm.UnsafeError, match=r"ssh board true.*--accept-host-key SHA256:"):
        remote.run(["touch", "evil"])
    board.trust()
    board.change_host_key()
    with board.remote() as remote, pytest.raises(pillm.UnsafeError, match="another key"):
        remote.run(["touch", "evil"])
    assert board.commands == []
