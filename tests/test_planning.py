"""Plans of what a person names, and the lengths of a data set."""

from __future__ import annotations

from pathlib import Path

import pytest

import pillm
from pillm.contract import Contract
from pillm.planning import requests_of
from pillm.records import Prompt, Reference
from pillm.testing import FAKES, installed_plugin
from tests.test_planner import tiny_gguf


def rows(count: int = 3, answer: str = "a" * 80) -> list[Prompt]:
    told = Reference(message={"role": "assistant", "content": answer}) if answer else None
    return [Prompt(id=str(i), messages=({"role": "user", "content": "u" * 40},), reference=told) for i in range(count)]


def test_a_shipped_model_is_planned_by_its_name() -> None:
    pytest.importorskip("pillm_nano", reason="not installed: pillm-nano")
    found = pillm.plan("nano-base", "pi4-4gb")
    assert (found.model, found.fits) == ("nano-base", True)
    assert {one.model for one in pillm.plan_table("nano-base", "pi4-4gb")} == {"nano-base"}


def test_a_path_beats_a_name_and_a_name_that_nobody_ships_is_taken_for_a_path(tmp_path: Path) -> None:
    (tmp_path / "s-F16.gguf").write_bytes(tiny_gguf())
    assert pillm.plan(str(tmp_path / "s-F16.gguf"), "pi4-4gb").fits
    with installed_plugin(tmp_path / "fakes", "fakes", FAKES), pytest.raises(pillm.DataError, match="is not a file"):
        pillm.plan("nosuch", "pi4-4gb")


@pytest.mark.parametrize("name", ["recipe.yaml", "recipe.yml"])
def test_a_recipe_is_told_the_command_that_plans_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("teacher: {use: echo}")
    for model in (tmp_path / name, str(tmp_path / name)):
        with pytest.raises(pillm.DataError, match=r"pillm run .*recipe\.ya?ml --dry-run plans its files"):
            pillm.plan(model, "pi4-4gb")


def test_lengths_are_those_of_the_rows_and_an_answer_may_be_said() -> None:
    found = pillm.lengths_of(rows())
    assert (found.prompt, found.answer, found.estimated) == (19, 20, True)
    assert pillm.lengths_of(rows(), answer=7).answer == 7
    assert pillm.lengths_of(rows(answer=""), answer=7) == pillm.lengths_of(rows(), answer=7)
    assert pillm.lengths_of(rows(), contract=Contract(system="s" * 400)).prompt > 100


def test_lengths_that_cannot_be_told_say_what_is_missing() -> None:
    with pytest.raises(pillm.DataError, match="no row has an answer yet: say how many tokens one has"):
        pillm.lengths_of(rows(answer=""))
    with pytest.raises(pillm.DataError, match="there are no rows"):
        pillm.lengths_of([], answer=3)


def test_the_longest_request_holds_the_answer_that_is_said() -> None:
    assert requests_of(rows(), answer=500).longest > 500
