"""The tests of home-assistant/intents become rows of the assistant data set."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.assistant import DATASET, INTENTS, call, community, prompt, read, schema_validator


def checkout(folder: Path, layout: str) -> Path:
    tests = folder / layout
    (tests / "HassTurnOff").mkdir(parents=True)
    (tests / "light_HassTurnOn.yaml").write_text(
        """
language: en
tests:
  - sentences: ["Brighten the Pantry", "make it bright"]
    intent:
      name: HassTurnOn
      context: {area: Pantry}
      slots: {area: Pantry, domain: light, name: all}
  - sentences: ["bolt the Barn Door"]
    intent:
      name: HassTurnOn
      context: {domain: lock}
      slots: {name: ["Barn Door ", "Barn Door"]}
  - sentences: ["who are you"]
    intent: {name: HassNevermind}
  - sentences: ["spin it"]
    intent: {name: HassTurnOn, slots: {speed: 3}}
""",
        "utf-8",
    )
    (tests / "HassTurnOff" / "name_only.yaml").write_text(
        'language: en\ntests:\n  - sentences: ["halt the Churn"]\n    slots: {name: Churn}\n',
        "utf-8",
    )
    return folder


@pytest.mark.parametrize("layout", ["tests-en", "tests/en"])
def test_the_converter_reads_either_layout(tmp_path: Path, layout: str) -> None:
    skipped: Counter[str] = Counter()
    rows = list(community.rows(checkout(tmp_path, layout), skipped))
    assert {prompt(row): row["reference"]["content"] for row in rows} == {
        "halt the Churn": '{"name":"HassTurnOff","arguments":{"name":"churn"}}',
        "Brighten the Pantry": '{"name":"HassTurnOn","arguments":{"area":"pantry","domain":"light"}}',
        "make it bright": '{"name":"HassTurnOn","arguments":{"domain":"light"}}',
        "bolt the Barn Door": '{"name":"HassTurnOn","arguments":{"name":"barn door","domain":"lock"}}',
    }
    assert skipped == {"HassNevermind": 1, "HassTurnOn: HassTurnOn has no argument ['speed']": 1}


def test_the_converter_says_what_it_left_out(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    command = [sys.executable, str(DATASET / "community.py"), str(checkout(tmp_path, "tests-en"))]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
    assert done.returncode == 0
    assert "HassNevermind" in done.stderr
    assert len(read(out)) == 4


def test_the_converter_refuses_a_folder_without_tests(tmp_path: Path) -> None:
    command = [sys.executable, str(DATASET / "community.py"), str(tmp_path), "--out", "rows.jsonl"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "tests-en" in done.stderr


def test_the_community_tests_become_rows_that_satisfy_the_schema() -> None:
    if not INTENTS.is_dir():
        pytest.skip("no checkout of home-assistant/intents beside this repository")
    rows = list(community.rows(INTENTS, Counter()))
    assert len(rows) >= 500
    assert len({row["id"] for row in rows}) == len(rows)
    validator = schema_validator()
    for row in rows:
        validator.validate(call(row))
        assert row["license"] == "CC-BY-4.0"
