"""`pillm backends`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillm.cli.backends_command import KIND_NAMES, meaning, shown_type, shown_value
from pillm.kinds import KINDS

if TYPE_CHECKING:
    from tests.conftest import Cli


def test_everything_installed_is_listed_by_kind(cli: Cli, fakes: Path) -> None:
    done = cli("backends")
    for word in ("teacher", "echo", "trainer", "table", "metric", "exact", "filter", "drop", "pillm-fakes"):
        assert word in done.out
    assert {card["kind"] for card in cli("backends", "--json").json} == set(KIND_NAMES) - {"source", "publisher"}
    assert list(KINDS) == KIND_NAMES


def test_one_backend_shows_every_option_with_type_default_bounds_and_meaning(cli: Cli, fakes: Path) -> None:
    done = cli("backends", "echo")
    for word in ("window", "int", "1", ">= 1", "How many requests are pulled ahead.", "[not in the key]"):
        assert word in " ".join(done.out.split())
    card = cli("backends", "echo", "--json").json[0]
    assert {row["name"]: row["in_key"] for row in card["options"]} == {
        "script": True,
        "truth": True,
        "fails": True,
        "window": False,
    }


def test_a_name_may_belong_to_several_kinds_and_distributions(cli: Cli, fakes: Path) -> None:
    assert {card["kind"] for card in cli("backends", "table", "--json").json} == {"trainer", "exporter", "runner"}
    assert {card["kind"] for card in cli("backends", "table", "--kind", "runner", "--json").json} == {"runner"}
    assert len(cli("backends", "pillm-fakes:echo", "--json").json) == 1


def test_an_unknown_name_is_guessed(cli: Cli, fakes: Path) -> None:
    done = cli("backends", "tabel")
    assert done.code == 2
    assert "Did you mean 'table'?" in done.err


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("int", "int"),
        ("str | None", "str"),
        ("pathlib.Path | None", "path"),
        ("Literal['a', 'b']", "choice"),
        ("Optional[Literal['a']]", "choice"),
        ("Union[Literal['a'], list[str]]", "choice or list of str"),
        ("tuple[str, ...]", "list of str"),
        ("dict[str, str] | None", "table"),
    ],
)
def test_types_are_said_plainly(text: str, shown: str) -> None:
    assert shown_type(text) == shown


def test_defaults_are_shown_as_they_would_be_typed() -> None:
    assert [shown_value(value) for value in (["a", "b"], [], "", None, 1e-5)] == ["a,b", "(empty)", "(empty)", "none", "1e-05"]
    assert meaning({"description": "d", "bounds": "> 0", "in_key": True}) == "d (> 0)"
