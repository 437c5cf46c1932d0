"""The two streams: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillm.cli.terminal import Terminal

if TYPE_CHECKING:
    from tests.conftest import Cli


def test_results_go_to_stdout_and_the_rest_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    terminal.say("working")
    terminal.result({"a": 1}, "done")
    assert capsys.readouterr() == ("done\n", "working\n")


def test_json_prints_one_document_and_no_refusal_after_it(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(json=True)
    terminal.result({"path": Path("a/b"), "texts": ("é", "b"), "set": {"x"}}, "not shown")
    terminal.refusal("GateError", "too slow", 3)
    assert json.loads(capsys.readouterr().out) == {"path": "a/b", "texts": ["é", "b"], "set": ["x"]}


def test_quiet_says_nothing_but_the_result(cli: Cli, fakes: Path, rows: Path, tmp_path: Path) -> None:
    done = cli("label", rows, "--teacher", "echo", "--out", tmp_path / "out", "-q")
    assert done.err == ""
    assert "3 rows = 3 answered" in done.out


@pytest.mark.parametrize("before", [True, False])
def test_the_global_options_stand_before_or_after_the_command(cli: Cli, fakes: Path, tmp_path: Path, before: bool) -> None:
    log = ["--log-file", tmp_path / "x.log", "-v"]
    done = cli(*log, "plugins") if before else cli("plugins", *log)
    assert done.code == 0
    assert (tmp_path / "x.log").exists()


def test_nothing_is_coloured_where_nobody_looks(cli: Cli, fakes: Path) -> None:
    assert "\x1b" not in cli("backends").out
