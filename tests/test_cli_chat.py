"""`pillm chat`."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Cli


@pytest.fixture
def model(fakes: Path, tmp_path: Path) -> Path:
    """Write a model that knows two sentences."""
    path = tmp_path / "student.table"
    path.write_text(
        json.dumps({"user: hello": "hi\nthere", "user: hello\nassistant: hi\nthere\nuser: again": "once more"}), "utf-8"
    )
    return path


def test_a_pipe_gets_one_answer_per_line(cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\n\nwhat?\n"))
    done = cli("chat", model)
    assert done.out == "hi there\n\n"
    assert done.err == ""


def test_json_gives_every_turn_as_it_was(cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\nagain\n"))
    assert cli("chat", model, "--memory", "--json").json == [
        {"prompt": "hello", "answer": "hi\nthere"},
        {"prompt": "again", "answer": "once more"},
    ]


def test_a_terminal_is_asked_until_its_end(cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    said = iter(["hello", ""])
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("builtins.input", lambda _: next(said, None) or _end())
    done = cli("chat", model)
    assert done.code == 0
    assert done.out == "hi\nthere\n"


def _end() -> str:
    raise EOFError


def test_a_model_that_is_not_there_is_named(cli: Cli, fakes: Path, tmp_path: Path) -> None:
    done = cli("chat", tmp_path / "nosuch.gguf")
    assert done.code == 2
    assert "nosuch.gguf" in done.err
