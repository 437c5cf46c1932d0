"""The JSON Schemas in `schemas/` equal their sources, and describe what pillm really reads and writes."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import pillm
from pillm.artifacts import to_json
from pillm.cli.formats import FORMATS, format_schema, row_schema
from pillm.progress import Event
from pillm.records import JSONObject
from pillm.rows import FIELDS, example_to_row, prompt_to_row
from pillm.stages.predictions import Prediction, write_predictions
from pillm.store import Lineage, write_manifest
from pillm.testing import EchoTeacher
from pillm.yamlfile import parse_yaml

ROOT = Path(__file__).parent.parent


def check(name: str, value: Any) -> None:
    """Hold a value against the schema of a format."""
    schema = format_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads(json.dumps(value)))


@pytest.mark.parametrize("name", FORMATS)
def test_the_committed_schema_equals_its_source(name: str) -> None:
    path = ROOT / "schemas" / f"{name}.schema.json"
    committed: JSONObject = json.loads(path.read_text("utf-8"))
    assert committed == json.loads(json.dumps(format_schema(name))), "write it anew: make reference"


@pytest.mark.parametrize("path", sorted((ROOT / "schemas").glob("*.json")), ids=lambda path: path.name)
def test_every_schema_is_a_schema(path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(path.read_text("utf-8")))


def test_the_row_schema_names_the_fields_that_rows_have() -> None:
    assert set(row_schema()["properties"]) == FIELDS


def test_rows_as_they_are_written_satisfy_the_row_schema(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = {"id": 1, "user": "a", "assistant": "b", "tags": ["x"], "group": "g", "tool_schema": {"type": "object"}, "more": 1}
    path.write_text(json.dumps(row) + "\n", "utf-8")
    for prompt in pillm.read_prompts(path):
        check("row", prompt_to_row(prompt))
        answer = pillm.Answer("b", usage=pillm.Usage(prompt_tokens=1), model="m")
        check("row", example_to_row(pillm.Example(prompt=prompt, answer=answer, key="v1:0")))


@pytest.mark.parametrize("path", sorted((ROOT / "dataset").rglob("*.jsonl")), ids=lambda path: path.name)
def test_the_bundled_rows_satisfy_the_row_schema(path: Path) -> None:
    validator = jsonschema.Draft202012Validator(format_schema("row"))
    for line in path.read_text("utf-8").splitlines()[::37]:
        validator.validate(json.loads(line))


@pytest.mark.parametrize(
    "path", sorted([*(ROOT / "examples").glob("*.yaml"), ROOT / "pillm/cli/starter/recipe.yaml"]), ids=lambda path: path.name
)
def test_the_recipes_satisfy_the_recipe_schema(path: Path) -> None:
    check("recipe", parse_yaml(path.read_text("utf-8")))


def test_what_pillm_writes_satisfies_its_schema() -> None:
    figure = pillm.Figure(mean=0.5, low=0.4, high=0.6, rows=3)
    check(
        "benchmark",
        to_json(pillm.Benchmark(model="m", device="d", basis="measured", pp_tps=1.0, tg_tps=2.0, samples={"pp": [1.0]})),
    )
    check("evaluation", to_json(pillm.Evaluation(subject="s", kind="model", set="test", rows=3, metrics={"exact": figure})))
    plan = pillm.Plan(model="m", device="d", quant="F16", fits=True, bytes=1, memory={"weights": 1}, tg_tps=None,
                      pp_tps=1.0, context=8, verdict="v")  # fmt: skip
    check("plan", to_json(plan))
    check("events", asdict(Event(kind="advance", stage="train", at="now", done=1, total=2, figures={"loss": 0.1})))


def test_a_manifest_satisfies_its_schema_which_names_all_that_it_says(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("w")
    lineage = Lineage(verb="train", key="k", backends=(EchoTeacher(),), seed=3, counts={"rows": 1}, parents={"train": "x"})
    write_manifest(tmp_path, lineage)
    written = json.loads((tmp_path / "manifest.json").read_text("utf-8"))
    check("manifest", written)
    assert list(format_schema("manifest")["properties"]) == list(written)


def test_a_contract_satisfies_its_schema_which_names_all_that_it_says(tmp_path: Path) -> None:
    told = pillm.Contract(schema_in_prompt="text", system="a")
    for contract in (told, told.with_student(template="t", special_tokens={"<eos>": 1}, stop_tokens=("<eos>",))):
        contract.save(tmp_path / "contract.json")
        written = json.loads((tmp_path / "contract.json").read_text("utf-8"))
        check("contract", written)
        assert list(format_schema("contract")["properties"]) == list(written)


def test_predictions_satisfy_their_schema(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    said = {"id": "a", "prompt": "b", "reference": "c", "compared_with": "reference", "scores": {"exact": 1.0}}
    rows = [
        Prediction(**said, answer="c", finish_reason="stop", tags=("fr",), group="g", tool_calls=(call,)),
        Prediction(**said, answer=None, finish_reason=None, failure={"kind": "network", "message": "m"}),
    ]
    write_predictions(tmp_path, rows, {})
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text("utf-8").splitlines()]
    for line in lines:
        check("predictions", line)
    assert list(format_schema("predictions")["properties"]) == [field.name for field in fields(Prediction)]


def test_a_stored_answer_satisfies_the_answer_schema() -> None:
    from pillm.records import answer_to_json

    answer = pillm.Answer(
        "a", usage=pillm.Usage(prompt_tokens=3), token_ids=(1, 2), logprobs=(((1, -0.1),),), timings={"s": 1.0}
    )
    check("answer", answer_to_json(answer))
