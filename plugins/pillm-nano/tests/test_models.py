"""The shipped models: they load, answer, and have the shape that llama.cpp likes."""

from __future__ import annotations

import hashlib
import json
from itertools import islice
from pathlib import Path

import pillm_nano
import pytest
from corpus import DATASET, generator, text_of
from safetensors import safe_open
from scoring import answers, exact, load

PLUGIN = Path(__file__).resolve().parents[1]
RECORD = json.loads((PLUGIN / "training" / "record.json").read_text("utf-8"))
MEGABYTES = 16


def test_the_plugin_names_both_folders() -> None:
    models = pillm_nano.pillm_models()
    assert set(models) == {"nano-teacher", "nano-base"}
    for model in models.values():
        wanted = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
        wanted |= {"chat_template.jinja", "generation_config.json", "README.md"}
        assert wanted <= {path.name for path in model.iterdir()}


def test_the_teacher_answers_held_out_requests_as_its_record_says(teacher: Path) -> None:
    rows = list(islice(generator().stream(99, split="test"), 200))
    score = exact(*load(teacher), rows)
    assert score >= 0.8
    assert abs(score - RECORD["nano-teacher"]["exact_held_out"]) < 0.1


@pytest.mark.full
def test_the_teacher_reaches_its_goal_on_the_committed_held_out_prompts(teacher: Path) -> None:
    lines = (DATASET / "prompts.jsonl").read_text("utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row.get("split") == "test"]
    assert exact(*load(teacher), rows) >= 0.8


def test_the_base_does_not_know_the_task() -> None:
    rows = list(islice(generator().stream(99, split="test"), 60))
    assert exact(*load(PLUGIN / "pillm_nano" / "models" / "nano-base"), rows) <= 0.4


def test_a_request_answers_the_same_alone_and_in_a_batch(teacher: Path) -> None:
    model, tokenizer = load(teacher)
    rows = list(islice(generator().stream(5, split="train"), 12))
    together = answers(model, tokenizer, rows)
    assert together == [answers(model, tokenizer, [row])[0] for row in rows]


def test_every_weight_row_is_a_multiple_of_256(folder: Path) -> None:
    with safe_open(folder / "model.safetensors", "pt") as weights:
        shapes = {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
    assert "lm_head.weight" not in shapes
    assert all(shape[-1] % 256 == 0 for shape in shapes.values())


def test_the_wheel_stays_within_its_size() -> None:
    files = [path for path in (PLUGIN / "pillm_nano").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) <= MEGABYTES * 1_000_000


def test_the_record_describes_these_weights(folder: Path) -> None:
    made = RECORD[folder.name]
    assert hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() == made["sha256"]
    assert f"{made['exact_held_out']:.3f}" in (folder / "README.md").read_text("utf-8")


def test_no_group_seen_in_training_is_held_out(folder: Path) -> None:
    source = generator()
    known = {group.name for group in source.groups()}
    seen = set(RECORD[folder.name]["groups_seen"])
    assert seen <= known, "the dataset changed: train again"
    assert len(seen) > 100
    assert not {group for group in seen if source.held_out(group)}
    assert any(source.held_out(group) for group in known)


def test_both_models_share_one_tokenizer() -> None:
    files = [path / "tokenizer.json" for path in pillm_nano.pillm_models().values()]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_request_fits_in_few_tokens(teacher: Path) -> None:
    tokenizer = load(teacher)[1]
    rows = islice(generator().stream(6, split="train"), 200)
    assert max(len(tokenizer(text_of(row)).input_ids) for row in rows) < 200
