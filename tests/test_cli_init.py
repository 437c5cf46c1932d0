"""`pillm init`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pillm
from pillm.cli.init_command import FILES, STARTER

if TYPE_CHECKING:
    import pytest

    from tests.conftest import Cli


def test_a_recipe_rows_and_a_readme_are_written(cli: Cli, tmp_path: Path) -> None:
    done = cli("init", tmp_path / "new")
    assert done.code == 0
    assert f"cd {tmp_path / 'new'} && pillm run recipe.yaml" in done.out
    assert len(pillm.read_prompts(tmp_path / "new" / "prompts.jsonl")) == 10
    assert all((tmp_path / "new" / name).is_file() for name in FILES)


def test_nothing_is_overwritten(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("mine", "utf-8")
    done = cli("init")
    assert done.code == 2
    assert "README.md exists already" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text("utf-8") == "mine"


def test_the_starter_is_complete() -> None:
    assert sorted(path.name for path in STARTER.iterdir()) == sorted(FILES)
