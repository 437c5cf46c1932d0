"""What `pillm deploy` tells of several hosts: also when somebody presses Ctrl-C, and whose log is whose."""

from __future__ import annotations

from typing import Any

import pytest

import pillm
from pillm.cli import deploying
from pillm.cli.terminal import Terminal
from tests.conftest import Cli

CHOSEN: dict[str, Any] = {
    "name": "default", "port": None, "server": None, "context": None, "threads": None, "temperature": None, "predict": None,
    "system": None, "defaults": False, "wait": 1.0, "api_key_file": None, "ssh_config": None, "known_hosts": None,
    "accepted": (), "dry_run": False, "every": False, "lines": 5, "release": None,
}  # fmt: skip


def told(monkeypatch: pytest.MonkeyPatch, action: str, hosts: tuple[str, ...], work: Any) -> tuple[int, list[Any]]:
    """Return exit code and rows of hosts with which `work` is done; no host is reached."""
    rows: list[Any] = []
    monkeypatch.setattr(deploying, "_work", lambda *_: work)
    terminal = Terminal(json=True)
    monkeypatch.setattr(terminal, "result", lambda document, *shown: rows.append((document, shown)))
    return deploying.over_hosts(terminal, action, hosts, CHOSEN), rows[0]


def test_who_is_interrupted_still_tells_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(remote: pillm.Remote, service: pillm.Service) -> list[Any]:
        if remote.host == "two":
            raise KeyboardInterrupt
        return [{"host": remote.host, "state": "deployed"}]

    code, (rows, _) = told(monkeypatch, "model", ("one", "two", "three"), work)
    assert code == 130
    assert rows == [
        {"host": "one", "state": "deployed"},
        {"host": "two", "state": "interrupted"},
        {"host": "three", "state": "not reached"},
    ]


def test_logs_of_several_hosts_have_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(remote: pillm.Remote, service: pillm.Service) -> list[Any]:
        if remote.host == "two":
            raise pillm.Unavailable("two: no")
        return [{"host": remote.host, "log": f"said by {remote.host}\n"}]

    code, (rows, (shown,)) = told(monkeypatch, "logs", ("one", "two", "three"), work)
    assert code == 5
    assert shown == "==> one <==\nsaid by one\n==> three <==\nsaid by three\n"
    assert [row.get("state") for row in rows] == [None, "failed", None]
    assert told(monkeypatch, "logs", ("one",), work)[1][1] == ("said by one\n",)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rollback", "--status"), "--rollback and --status do not go together"),
        (("--rollback", "--context", "512", "--smoke", "hi"), "--rollback takes no --context, --smoke"),
        ((), "say one of --model (deploys it), --rollback"),
        (("--status", "--no-system"), "--status takes no --system"),
    ],
)
def test_what_does_not_belong_together_is_named(cli: Cli, words: tuple[str, ...], said: str) -> None:
    done = cli("deploy", "board", *words)
    assert done.code == 2
    assert said in done.err
