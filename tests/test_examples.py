"""Every example loads, and the ones that need nothing but the plugins run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pillm
from pillm.cli.init_command import STARTER

EXAMPLES = Path(__file__).parent.parent / "examples"
RECIPES = sorted([*EXAMPLES.glob("*.yaml"), STARTER / "recipe.yaml"])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_loads_and_its_files_exist(path: Path) -> None:
    recipe = pillm.load_recipe(path)
    assert recipe.prompts.is_file()
    assert all(file.is_file() for file in recipe.sets.values())
    assert pillm.device(recipe.file.device or "pi4-4gb").name


def test_the_quickstart_ships_what_it_should() -> None:
    recipe = pillm.load_recipe(EXAMPLES / "quickstart.yaml")
    assert list(recipe.exporter.options()["quants"]) == ["F16", "Q8_0", "Q4_K_M", "IQ4_NL"]
    assert recipe.file.split.test >= 600
    assert {"handwritten"} <= set(recipe.sets)
    assert [str(gate) for gate in recipe.gates] == [
        "exact >= 0.95 of teacher",
        "exact >= 0.3 above base",
        "exact >= 0.02 below F16",
    ]


def test_the_starter_can_be_rehearsed(tmp_path: Path) -> None:
    expected = pillm.rehearse(pillm.load_recipe(STARTER / "recipe.yaml"), tmp_path / "run")
    assert expected.rows["test"] == 2
    assert expected.plan is not None
    assert expected.plan.fits
    assert not (tmp_path / "run").exists()


def test_the_script_of_verbs_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "verbs.py", STARTER / "prompts.jsonl", tmp_path],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for word in ("labelled: 8 rows", "Q4_K_M.gguf", "here:", "there: Fits"):
        assert word in done.stdout, word


def test_the_notebook_is_clean_and_its_cells_compile() -> None:
    notebook = json.loads((EXAMPLES / "report.ipynb").read_text("utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            compile("".join(cell["source"]), "report.ipynb", "exec")


def test_the_examples_are_all_listed() -> None:
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    for path in EXAMPLES.iterdir():
        if path.name not in ("README.md", "__pycache__"):
            assert f"`{path.name}" in listed, path.name
