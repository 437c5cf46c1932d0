"""`pillm deploy`: one board, several boards, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pillm.testing import missing_for_board
from pillm.testing.hostile import SOUND
from pillm.testing.standin import write_stand_in
from tests.conftest import Cli
from tests.deploys import Answers, Field, a_field

ANSWERING = """#!/bin/sh
# a llama-server whose model file is a real one: what it answers stands beside it
echo '{"answer": "hello", "load": 0}' > told.json
for word in "$@"; do shift; case $word in *-model.gguf) word=told.json ;; esac; set -- "$@" "$word"; done
exec "$PILLM_BOARD/stand-in" "$@"
"""


@pytest.fixture(scope="module")
def served() -> Iterator[Field]:
    """Give a board with a server that serves real model files."""
    if lacking := missing_for_board():
        pytest.skip(lacking)
    with a_field() as found:
        write_stand_in(found.board.folder / "stand-in")
        program = Path(found.server).with_name("llama-server-2")
        program.write_text(ANSWERING)
        program.chmod(0o755)
        found.server = str(program)
        yield found


@pytest.fixture
def deploy(served: Field, cli: Cli, tmp_path: Path, fakes: Path) -> Cli:
    """Run `pillm deploy` for the board."""
    common = ["--ssh-config", served.board.ssh_config, "--known-hosts", tmp_path / "known"]
    common += ["--accept-host-key", served.board.fingerprint]
    first = ["--server", served.server, "--context", "256"]
    return lambda *words: cli("deploy", *words, *common, *(first if "--model" in words else []))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m-Q8_0.gguf"
    path.write_bytes(SOUND)
    return path


def test_a_file_is_deployed_looked_at_and_gone_back_from(served: Field, deploy: Cli, model: Path) -> None:
    planned = deploy("board", "--model", model, "--dry-run", "--json")
    assert (planned.code, planned.json[0]["state"]) == (0, "planned")
    assert "are free there" in planned.err
    assert Answers(served.port).once() == "old"
    done = deploy("board", "--model", model)
    assert done.code == 0, done.err
    assert "deployed" in done.out
    assert "any answer will do as its smoke test" in done.err
    assert Answers(served.port).once() == "hello"
    (stands,) = deploy("board", "--status", "--json").json
    assert (stands["model"], stands["healthy"]) == ("m-Q8_0.gguf", True)
    assert "arguments:" in deploy("board", "--logs", "-n", "5").out
    looked = deploy("board", "--rollback", "--dry-run", "--json")
    assert (looked.code, looked.json[0]["state"], looked.json[0]["model"]) == (0, "planned", "old.gguf")
    assert Answers(served.port).once() == "hello", "a dry run goes nowhere"
    back = deploy("board", "--rollback", "--json")
    assert (back.code, back.json[0]["state"]) == (0, "rolled back")
    assert Answers(served.port).once() == "old"


def test_one_host_and_several_have_one_shape_in_json_and_notes_are_in_it(deploy: Cli) -> None:
    one, two = deploy("board", "--status", "--json"), deploy("board", "board", "--status", "--json")
    assert [len(done.json) for done in (one, two)] == [1, 2]
    assert one.json[0].keys() == two.json[0].keys() == two.json[1].keys()
    assert any("@reboot" in note for note in one.json[0]["notes"])
    assert "@reboot" in one.err


def test_a_monitor_can_tell_what_answers_from_what_does_not_and_from_nothing(served: Field, deploy: Cli) -> None:
    (row,) = deploy("board", "--status", "--all", "--json").json
    assert row["name"] == "default"
    assert (row["profile"]["context"], row["profile"]["temperature"], row["profile"]["key"]) == (64, 0.0, None), (
        "the model has no more"
    )
    assert deploy("board", "--status", "--name", "other").code == 2
    assert deploy("board", "--stop").code == 0
    done = deploy("board", "--status", "--json")
    assert (done.code, done.json[0]["state"]) == (1, "stopped")
    assert deploy("board", "--restart").code == 0
    assert deploy("board", "--status").code == 0
    assert Answers(served.port).once() == "old"


def test_a_dry_run_records_no_key_of_a_host(served: Field, cli: Cli, tmp_path: Path, model: Path, fakes: Path) -> None:
    known = tmp_path / "known"
    words = ["--known-hosts", known, "--ssh-config", served.board.ssh_config, "--accept-host-key", served.board.fingerprint]
    done = cli("deploy", "board", "--model", model, "--server", served.server, "--dry-run", "--json", *words)
    assert (done.code, done.json[0]["state"]) == (0, "planned"), done.err
    assert not known.exists()


def test_a_board_that_fails_does_not_stop_the_others(served: Field, deploy: Cli) -> None:
    with served.board.ssh_config.open("a") as config:
        config.write("Host nowhere\n  HostName 127.0.0.1\n  Port 9\n")
    done = deploy("nowhere", "board", "--status", "--json")
    assert done.code == 5
    assert [row["state"] for row in done.json] == ["failed", "answers"]
    assert (done.json[0]["exit_code"], done.json[0]["kind"]) == (5, "Unavailable")
    assert "nowhere cannot be reached" in done.err
    assert "does not answer" not in deploy("nowhere", "board", "--status").out
    alone = deploy("nowhere", "--status", "--json")
    assert (alone.code, alone.json, alone.err.count("Error:")) == (5, done.json[:1], 1)


def test_an_unknown_host_is_shown_and_exits_with_6(served: Field, cli: Cli, tmp_path: Path) -> None:
    before = len(served.board.commands)
    words = ["--status", "--ssh-config", served.board.ssh_config, "--known-hosts", tmp_path / "empty"]
    done = cli("deploy", "board", *words)
    assert done.code == 6
    assert f"--accept-host-key {served.board.fingerprint}" in done.err
    assert len(served.board.commands) == before


@pytest.mark.parametrize(
    "words",
    [
        ["board"],
        ["board", "--model", "{model}", "--status"],
        ["-oProxyCommand=x", "--status"],
        ["board", "--status", "--name", "../x"],
        ["board", "--rollback", "--status"],
        ["board", "--rollback", "--context", "512"],
        ["board", "--rollback", "--smoke", "any"],
        ["board", "--status", "--dry-run"],
        ["board", "--model", "{model}", "--release", "last-failed"],
        ["board", "--status", "--all", "--name", "default"],
        ["board", "--model", "{model}", "--context", "100"],
    ],
)
def test_what_makes_no_sense_is_refused(cli: Cli, model: Path, words: list[str]) -> None:
    assert cli("deploy", *(word.format(model=model) for word in words)).code == 2


@pytest.mark.full
def test_without_options_the_keys_of_hosts_are_kept_in_a_file_of_pillm(served: Field, tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
    words = ["deploy", "board", "--status", "--ssh-config", str(served.board.ssh_config)]
    words += ["--accept-host-key", served.board.fingerprint]
    done = subprocess.run([sys.executable, "-m", "pillm", *words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "pillm" / "known_hosts").read_text().startswith("[127.0.0.1]:")
