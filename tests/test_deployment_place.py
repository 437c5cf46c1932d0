"""What a board is looked at for before anything is sent, and how a release is put there."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pillm
from pillm.deployment import place as place_module
from pillm.deployment.place import Place, keeper_script
from pillm.deployment.profile import Profile, model_link
from pillm.testing import LoopbackBoard
from pillm.testing.standin import write_stand_in
from tests.deploys import bundle


@pytest.fixture
def server(board: LoopbackBoard) -> str:
    return str(write_stand_in(board.home / "bin" / "llama-server"))


@pytest.mark.parametrize("name", ["", "A", "a b", "../x", "-x", "x-", "a" * 33, "a/b", "$(x)", "a\nb", "é"])
def test_a_name_that_no_folder_should_have_is_refused_before_a_connection(name: str) -> None:
    with pytest.raises(pillm.ConfigError, match="no name for a served model"):
        Place.find(pillm.Remote("nowhere"), name)


@settings(max_examples=500)
@given(st.text(max_size=40))
def test_no_accepted_name_leaves_its_folder(name: str) -> None:
    if place_module._NAME.fullmatch(name):
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert not name.startswith("-")


def test_a_board_says_what_it_has(board: LoopbackBoard) -> None:
    with board.remote() as remote:
        found = Place.find(remote, "default")
        assert found.root == f"{board.home}/.local/share/pillm/served/default"
        assert (found.current, found.port) == (None, None)
        assert found.cores >= 1
        with pytest.raises(pillm.ConfigError, match="nothing is deployed under the name 'default'"):
            found.deployed()
    assert list(board.home.iterdir()) == []


def test_a_board_without_tools_is_told_how_to_get_them(board: LoopbackBoard, tmp_path: Path) -> None:
    with board.remote() as remote:
        tools = tmp_path / "tools"
        tools.mkdir()
        for name in ("sh", "cat", "readlink", "uname", "nproc"):
            (tools / name).symlink_to(shutil.which(name) or name)
        board.environment(PATH=str(tools))
        with pytest.raises(pillm.MissingDependency, match="board lacks flock, mkfifo"):
            Place.find(remote, "default")


def test_a_release_is_there_whole_or_not_at_all(board: LoopbackBoard, server: str, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_text("model")
    what = bundle(tmp_path / "m.gguf", "x")
    with board.remote() as remote:
        found = Place.find(remote, "default")
        found.install()
        assert not (Path(found.root) / "port").exists(), "no port is claimed before anything answers"
        sent = remote.upload(what.model.path, f"{found.root}/files", what.model.sha256)
        profile = Profile(server=server)
        release, link = what.release(profile), model_link(what.model.sha256)
        Path(sent).write_text("damaged")
        with pytest.raises(pillm.StorageError, match="What answered before still answers"):
            found.unpack(release, what.archive(release, [server], {}), sent, link)
        assert not (Path(found.root) / "releases" / release).exists()
        Path(sent).write_text("model")
        found.unpack(release, what.archive(release, [server], {}), sent, link)
    folder = Path(found.root) / "releases" / release
    assert json.loads((folder / "manifest.json").read_text())["model"] == "m.gguf"
    assert (folder / "model.gguf").read_text() == (folder / link).read_text() == "model"
    assert oct(folder.parent.parent.stat().st_mode)[-3:] == "700"


def test_the_script_is_clean() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("not installed: shellcheck")
    done = subprocess.run(
        ["shellcheck", "-s", "sh", "-"], input=keeper_script().decode(), capture_output=True, text=True, check=False
    )
    assert done.stdout == ""


def test_the_board_gets_the_whole_script_as_one_file(board: LoopbackBoard) -> None:
    with board.remote() as remote:
        found = Place.find(remote, "default")
        found.install()
        script = Path(found.root) / "serve.sh"
        assert script.read_bytes() == keeper_script()
        assert sorted(path.name for path in script.parent.glob("*.sh*")) == ["serve.sh"]
    done = subprocess.run(["sh", str(script), "nothing"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "usage: serve.sh ensure | start | trial ID PORT | prune ID FILE | status | restart | stop | remove\n",
    )


def test_systemd_keeps_it_where_there_is_one_for_users(board: LoopbackBoard) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("not installed: systemd-analyze")
    root = board.home / ".local" / "share" / "pillm" / "served" / "my-name"
    told = board.folder / "told"
    fake = board.home / "bin" / "systemctl"  # a machine without systemd has no user's manager: what it is told is written down
    fake.parent.mkdir()
    serve = f"setsid sh {root}/serve.sh serve </dev/null >/dev/null 2>&1 &"
    fake.write_text(f'#!/bin/sh\necho "$@" >> {told}\ncase $* in *restart*) {serve} ;; esac\n')
    fake.chmod(0o755)
    (fake.parent / "systemd-run").write_text("#!/bin/sh\nexit 0\n")  # a manager that can give a unit its own file system
    (fake.parent / "systemd-run").chmod(0o755)
    board.environment(PATH=f"{fake.parent}:/usr/bin:/bin:/usr/sbin:/sbin")
    with board.remote() as remote:
        found = Place.find(remote, "my-name")
        found.install()
        assert found.ask("ensure") == "started"
    unit = board.home / ".config" / "systemd" / "user" / "pillm-my-name.service"
    assert f'ExecStart=/bin/sh "{root}/serve.sh" serve' in unit.read_text()
    said = told.read_text()
    assert "--user daemon-reload" in said
    assert "--user enable --quiet pillm-my-name.service" in said
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(unit)], capture_output=True, text=True, check=False,
        env={"HOME": str(board.home), "PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(board.folder)},
    )  # fmt: skip
    assert str(unit) not in done.stderr, done.stderr
    limits = ("MemoryMax=85%", "OOMPolicy=continue", "StartLimitBurst=5", "NoNewPrivileges=yes", "ProtectSystem=strict")
    assert [line for line in limits if line not in unit.read_text().splitlines()] == []
    with board.remote() as remote:
        assert Place.find(remote, "my-name").ask("ensure") == "serving"
    assert told.read_text().count("daemon-reload") == 1, "a unit that is the same is left alone"
