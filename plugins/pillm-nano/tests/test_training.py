"""The training scripts, in a form of a few steps."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random

import corpus
import make
import pytest
import torch
from exercises import EXERCISES
from loop import Shape, batches, tensors

SHAPE = Shape(layers=2, intermediate=256)


def tiny(name: str, steps: int) -> make.Recipe:
    """Return a model's recipe with few layers and few steps."""
    stages = make.RECIPES[name][1]
    return SHAPE, [stage._replace(settings=replace(stage.settings, steps=steps, tokens_per_step=512)) for stage in stages]


@pytest.mark.parametrize("name", ["nano-teacher", "nano-base"])
def test_training_again_from_the_same_seed_gives_the_same_bytes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make, "TOKENIZER_ROWS", 300)
    made = [make.make_model(name, 11, tmp_path / str(i), set(), tiny(name, 3))["sha256"] for i in range(2)]
    other = make.make_model(name, 12, tmp_path / "other", set(), tiny(name, 3))["sha256"]
    assert made[0] == made[1] != other


def test_a_held_out_row_stops_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    source = corpus.generator()

    honest = source.stream
    monkeypatch.setattr(source, "stream", lambda seed, split: honest(seed, split="all"))
    with pytest.raises(ValueError, match="held out"):
        list(islice(corpus.rows(1, set()), 500))


def test_no_exercise_of_the_base_names_a_tool_or_an_argument() -> None:
    rng, source = Random(2), corpus.generator()
    for row in islice(source.stream(8, split="train"), 300):
        for _, exercise in EXERCISES:
            written = exercise(rng, row)[1]
            assert '"name":' not in written
            assert '"arguments"' not in written
            assert not any(tool in written for tool in source.TOOLS)


def test_batches_have_few_shapes_and_little_padding() -> None:
    rng = Random(3)
    rows = [(list(range(rng.randint(20, 90))), 5) for _ in range(5000)]
    made = list(batches(iter(rows), 4096))
    shapes = {tuple(tensors(batch, 0.1)[0].shape) for batch in made}
    assert len(shapes) <= 10
    padded = sum(tensors(batch, 0.1)[0].numel() for batch in made)
    kept = sum(len(ids) for batch in made for ids, _ in batch)
    assert padded < 1.1 * kept
    assert kept > 0.8 * sum(len(ids) for ids, _ in rows)


def test_the_written_weights_are_sixteen_bit(folder: Path) -> None:
    from safetensors.torch import load_file

    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}
