"""The parameters that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pillm.cli.choices import _option_names, assignments, backend_option

if TYPE_CHECKING:
    import pytest


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
