"""`pillm schema`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pillm.cli.formats import FORMATS

if TYPE_CHECKING:
    from tests.conftest import Cli


def test_without_a_name_all_are_listed(cli: Cli) -> None:
    listed = cli("schema", "--json").json
    assert set(listed["formats"]) == set(FORMATS)
    assert "calendar" in listed["answers"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_a_schema(cli: Cli, name: str) -> None:
    plain, document = cli("schema", name), cli("schema", name, "--json")
    assert json.loads(plain.out) == document.json
    assert document.json["$schema"].startswith("https://json-schema.org/")


def test_an_answer_schema_is_printed_too(cli: Cli) -> None:
    assert "title" in cli("schema", "calendar").json


def test_an_unknown_name_is_guessed(cli: Cli) -> None:
    done = cli("schema", "recipes")
    assert done.code == 2
    assert "Did you mean 'recipe'?" in done.err
