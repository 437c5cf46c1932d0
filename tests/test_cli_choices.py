"""The parameters that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from pillm.cli.choices import _option_names, assignments, backend_option

if TYPE_CHECKING:
    from tests.conftest import Cli


def test_assignments_become_nested_options() -> None:
    @click.command()
    @backend_option("teacher")
    @assignments("teacher")
    def command(**chosen: Any) -> Any:
        return chosen

    words = ["--teacher", "echo", "-o", "a.b=1", "-o", "a.c=[x, y]", "--option", "d=e=f"]
    assert command.main(words, standalone_mode=False) == {
        "teacher": "echo",
        "options": {"a": {"b": "1", "c": ["x", "y"]}, "d": "e=f"},
    }


@pytest.mark.parametrize("place", ["file/x", "link", "circle", "circle/x"])
@pytest.mark.parametrize("command", ["label", "split", "train", "bench", "run"])
def test_a_place_that_leads_nowhere_is_refused_before_any_work(
    cli: Cli, fakes: Path, rows: Path, tmp_path: Path, command: str, place: str
) -> None:
    (tmp_path / "file").write_text("{}", "utf-8")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    words = {
        "label": ("label", rows, "--teacher", "echo"),
        "split": ("data", "split", rows),
        "train": ("train", rows, "--trainer", "table"),
        "bench": ("bench", tmp_path / "file", "--runner", "table"),
        "run": ("run", tmp_path / "file"),
    }
    done = cli(*words[command], "--out", tmp_path / place)
    assert done.code == 2
    assert "Choose another path" in done.err


def test_options_are_completed_for_the_backend_on_the_line(fakes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logging.disable", lambda *_: None)
    context = click.Context(click.Command("label"))
    context.params["teacher"] = "echo"
    parameter = click.Option(["-o"])
    assert [item.value for item in _option_names("teacher", context, parameter, "")] == [
        "script=",
        "truth=",
        "fails=",
        "window=",
    ]
    assert _option_names("teacher", context, parameter, "window=") == []
    context.params["teacher"] = None
    assert _option_names("teacher", context, parameter, "") == []
