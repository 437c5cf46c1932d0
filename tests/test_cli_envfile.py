"""Environment variables from the file that --env-file names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillm import ConfigError
from pillm.cli.envfile import read_env

if TYPE_CHECKING:
    from tests.conftest import Cli


def test_lines_are_read_as_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text("# a comment\n\nA=1\nexport B='two words' \nC=\"x=y\"\nD=$HOME # not expanded\nE=\n", "utf-8")
    assert read_env(path) == {"A": "1", "B": "two words", "C": "x=y", "D": "$HOME", "E": ""}


def test_a_wrong_line_is_named_and_its_text_is_not(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text("A=1\nsk-very-secret\n", "utf-8")
    with pytest.raises(ConfigError, match=r"env:2") as refused:
        read_env(path)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("wrong", [b"caf\xe9-secret", b"secret\0"])
def test_a_line_that_is_no_text_is_named_and_its_text_is_not(cli: Cli, tmp_path: Path, wrong: bytes) -> None:
    (tmp_path / "env").write_bytes(b"A=1\nB=" + wrong + b"\n")
    done = cli("--env-file", tmp_path / "env", "plugins")
    assert done.code == 2
    assert done.err.startswith("Error: env:2: ")
    assert "secret" not in done.err


def test_what_is_set_already_stays(cli: Cli, fakes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("PILLM_TEST_OLD=file\nPILLM_TEST_NEW=file\n", "utf-8")
    monkeypatch.setenv("PILLM_TEST_OLD", "here")
    monkeypatch.setenv("PILLM_TEST_NEW", "x")
    monkeypatch.delenv("PILLM_TEST_NEW")
    assert cli("--env-file", tmp_path / ".env", "plugins").code == 0
    assert (os.environ["PILLM_TEST_OLD"], os.environ["PILLM_TEST_NEW"]) == ("here", "file")


def test_no_env_file_is_read_unless_it_is_named(cli: Cli, fakes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("PILLM_TEST_STRAY=1\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    assert cli("plugins").code == 0
    assert "PILLM_TEST_STRAY" not in os.environ
