"""Plans of all files and the gates that they will be held to, before anything is spent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pillm.cli.summary import rehearsal_lines
from pillm.errors import ConfigError
from pillm.outlook import look_ahead, make_ready
from pillm.pipeline import run
from pillm.recipe import Recipe, load_recipe
from pillm.rehearsal import rehearse
from pillm.testing import FAKES, installed_plugin
from tests.needy import NEEDY
from tests.test_outlook import NANO, RECIPE, put


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """Return a folder with a recipe, its rows, and a base of the shape NANO."""
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"id": f"r{i}", "user": f"say {i}"}) + "\n" for i in range(8)))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    with installed_plugin(tmp_path / "fakes", "fakes", FAKES), installed_plugin(tmp_path / "needy", "needy", NEEDY):
        put(tmp_path / "needy" / "base", NANO)
        yield tmp_path


def recipe(site: Path, *overrides: str) -> Recipe:
    return load_recipe(site / "recipe.yaml", ("trainer.use=based", *overrides))


def test_the_plan_is_that_of_the_smallest_file_that_fits_and_the_others_stand_beside_it(site: Path) -> None:
    asked = ("device=pi4-4gb", "exporter.quants=[Q4_0, F16, Q8_0]")
    found = look_ahead(recipe(site, *asked), site / "run")
    assert found.plan is not None
    assert found.plan.quant == "Q4_0"
    assert [one.quant for one in found.plans] == ["Q4_0", "F16", "Q8_0"]
    assert rehearse(recipe(site, *asked), site / "run").plans == found.plans


def test_a_gate_that_no_file_could_meet_is_refused_before_anything_is_spent(site: Path) -> None:
    asked = ("device=pi4-4gb", "exporter.quants=[Q8_0, F16]")
    for gates, said in (
        ("gates.tg_tps=100000", "Q8_0 would write about .* So it is with F16"),
        ("gates.bytes=6e6", "leave F16 out"),
    ):
        for go_ in (rehearse, run):
            with pytest.raises(ConfigError, match=said) as caught:
                go_(recipe(site, *asked, gates), site / "run")
            assert str(caught.value).endswith("No teacher was asked and nothing was written.")
    assert not (site / "run").exists()


def test_a_gate_that_may_be_met_is_told_of_and_not_refused(site: Path, caplog: pytest.LogCaptureFixture) -> None:
    asked = ("device=pi4-4gb", "exporter.quants=[Q8_0]", "gates.tg_tps=100000")
    measured = recipe(site, *asked, "bench_runner.use=table")
    assert [one.fate for one in rehearse(measured, site / "run").gates] == ["doubtful"]
    make_ready(measured, site / "run")
    assert "tg_tps >= 100000: Q8_0 would write about" in caplog.text
    chosen = recipe(site, "device=pi4-4gb", "exporter.quants=[Q8_0, auto]", "gates.tg_tps=100000")
    assert [one.fate for one in look_ahead(chosen, site / "run").prospects] == ["doubtful"], "the exporter may find another"


def test_a_dry_run_shows_the_card_of_the_smallest_a_table_of_all_and_the_gates(site: Path) -> None:
    asked = ("device=pi4-4gb", "exporter.quants=[F16, Q8_0]", "gates.bytes=1e9", "gates.exact=0.5")
    lines = rehearsal_lines(rehearse(recipe(site, *asked), site / "run"))
    said = "\n".join(one for one in lines if isinstance(one, str))
    assert "base (Q8_0, 4.5 MB) on pi4-4gb: fits" in said
    assert "gate     bytes <= 1000000000: Q8_0 takes about 4.5 MB on disk: would be met" in said
    (table,) = [one for one in lines if not isinstance(one, str)]
    assert table.row_count == 2
    alone = rehearsal_lines(rehearse(recipe(site, "device=pi4-4gb", "exporter.quants=[F16]"), site / "run"))
    assert all(isinstance(one, str) for one in alone), "one file needs no table"
