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


HUB = [EXAMPLES / "server.yaml", EXAMPLES / "one-gpu.yaml"]


@pytest.mark.parametrize("path", [*HUB, EXAMPLES / "quickstart.yaml"], ids=lambda path: path.name)
def test_the_rows_of_every_recipe_fit_the_student_with_their_answers(path: Path) -> None:
    from pillm_hf.rows.opening import load_chat
    from pillm_hf.rows.text import encode

    recipe = pillm.load_recipe(path, ["trainer.base=nano-base"])
    rows = pillm.read_prompts(recipe.prompts, relabel=True)
    recipe.trainer.check_prompts(rows, recipe.contract)
    longest = sorted(rows, key=lambda row: len(row.text) + len(row.reference.content if row.reference else ""))[-64:]
    examples = [pillm.Example(prompt=row, answer=pillm.Answer(row.reference.content)) for row in longest if row.reference]
    chat = load_chat(pillm.model_folder("nano-base") or Path())
    encoding = encode(examples, recipe.contract, chat, recipe.trainer.options()["max_length"])
    assert (len(encoding.rows), encoding.left_out) == (64, {})


@pytest.mark.parametrize("path", HUB, ids=lambda path: path.name)
def test_a_recipe_whose_prompts_cannot_fit_is_refused_before_a_teacher_is_asked(path: Path, tmp_path: Path) -> None:
    lines = (EXAMPLES.parent / "dataset/assistant/prompts.jsonl").read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "some.jsonl").write_text("".join(lines[:200:5]), "utf-8")
    (tmp_path / "other.jsonl").write_text("".join(lines[-400::100]), "utf-8")
    few = [f"prompts={tmp_path / 'some.jsonl'}", f"evaluate.sets.handwritten={tmp_path / 'other.jsonl'}"]
    few += ["split.test=4", "split.validation=2", "split.calibration=2", "split.by=id"]
    recipe = pillm.load_recipe(path, [*few, "trainer.base=nano-base", "label.schema_in_prompt=text", "label.system=none"])
    refused = r"\d+ of \d+ prompts leave no room for an answer in max_length=1536 tokens .* raise max_length"
    for look in (pillm.run, pillm.rehearse):
        with pytest.raises(pillm.ConfigError, match=refused):
            look(recipe, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_the_recipes_of_the_hub_say_every_tool_and_argument_in_one_system_message() -> None:
    told, other = (pillm.load_recipe(path).contract.system or "" for path in HUB)
    assert told == other
    schema = json.loads((EXAMPLES.parent / "schemas" / "assistant.schema.json").read_text("utf-8"))
    for tool, call in schema["$defs"].items():
        arguments = call["properties"]["arguments"]
        assert tool in told
        for name, said in arguments["properties"].items():
            assert f"{name}!" in told if name in arguments["required"] else name in told, (tool, name)
            assert all(str(value) in told for value in said.get("enum", []) if str(value)[0].isalpha() and name != "date")
    assert len(told) < 2600, "about 600 tokens"


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


@pytest.mark.full
def test_the_script_of_verbs_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "verbs.py", STARTER / "prompts.jsonl", tmp_path],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for word in ("labelled: 8 rows", "Q4_K_M.gguf", "here:", "there: Fits"):
        assert word in done.stdout, word


@pytest.mark.parametrize(
    ("name", "table", "kept", "left_out"),
    [
        ("system1", "instructions.jsonl", 7, {"verbosity above 4": 1, "difficulty above 5": 1, "difficulty missing": 1}),
        ("system2", "reasoning.jsonl", 4, {
            "item.verbosity below 2": 1, "item.verbosity above 6": 1,
            "item.difficulty below 3": 1, "item.difficulty above 8": 1,
        }),
    ],
)  # fmt: skip
def test_the_tasks_make_prompts_of_the_tables_beside_them(name: str, table: str, kept: int, left_out: dict[str, int]) -> None:
    counts = pillm.TaskCounts()
    task = pillm.load_task(EXAMPLES / "tasks" / f"{name}.yaml")
    prompts = list(pillm.prompts_of(task, pillm.read_table(EXAMPLES / "tasks" / table), counts))
    assert (len(prompts), counts.left_out, counts.balanced) == (kept, left_out, True)
    assert all(prompt.text == prompt.text.strip() for prompt in prompts)
    assert all(prompt.reference for prompt in prompts)
    assert {prompt.language for prompt in prompts} == {"en", "fr-CA"}
    assert all(bool(prompt.given and prompt.given["reasoning"]) == (name == "system2") for prompt in prompts)


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
