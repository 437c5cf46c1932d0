"""`pillm completion`, and what the shells are told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Cli


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_goes_to_stdout(cli: Cli, shell: str) -> None:
    done = cli("completion", shell)
    assert done.code == 0
    assert "_PILLM_COMPLETE" in done.out
    assert "pillm completion" in done.err


def test_the_shell_is_guessed_or_asked_for(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    assert cli("completion", "--json").json["shell"] == "zsh"
    monkeypatch.setenv("SHELL", "/bin/unknown")
    assert cli("completion").code == 2


def completed(line: str, path: Path) -> list[str]:
    """Return what bash would be offered at the end of a line."""
    words = line.split(" ")
    script = "import sys; sys.argv = ['pillm']; from pillm.cli.program import program; program(prog_name='pillm')"
    environment = {
        **os.environ,
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_PILLM_COMPLETE": "bash_complete",
        "PYTHONPATH": str(path),
    }
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return [entry.partition(",")[2] for entry in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("pillm ba", ["backends"]),
        ("pillm label x.jsonl --teacher ", ["echo"]),
        ("pillm label x.jsonl --teacher echo -o w", ["window="]),
        ("pillm plan x.gguf --device pi4", ["pi4-2gb", "pi4-4gb", "pi4-8gb"]),
        ("pillm schema rec", ["recipe"]),
    ],
)
def test_names_are_completed(fakes: Path, line: str, offered: list[str]) -> None:
    assert completed(line, fakes) == offered
