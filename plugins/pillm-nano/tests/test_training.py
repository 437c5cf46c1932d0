"""The training scripts, in a form of a few steps."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random

import corpus
import make
import pytest
import torch
from exercises import EXERCISES, FINE_ACTS, NAMED, dialect
from growth import grow, renew_unread
from loop import Shape, batches, build_model, tensors


def tiny(name: str) -> make.Recipe:
    """Return a model's recipe with three steps, and no other model needed."""
    recipe = make.RECIPES[name]
    settings = replace(recipe.settings, steps=3, tokens_per_step=512)
    return recipe._replace(shape=Shape(layers=2, intermediate=256), grown_from=None, settings=settings)


@pytest.mark.parametrize("name", ["nano-teacher", "nano-base"])
def test_training_again_from_the_same_seed_gives_the_same_bytes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make, "TOKENIZER_ROWS", 300)
    monkeypatch.setattr(make, "READ_ROWS", 300)
    made = [make.make_model(name, seed, tmp_path / str(i), set(), tiny(name)) for i, seed in enumerate([11, 11, 12])]
    digests = [one["sha256"] for one in made]
    assert digests[0] == digests[1] != digests[2]


def test_a_grown_model_first_answers_as_the_small_one() -> None:
    small = build_model(Shape(layers=4, intermediate=256), 320, seed=1)
    big = grow(small, Shape(layers=6, intermediate=768), seed=2)
    ids = torch.arange(40).reshape(2, 20)
    assert torch.allclose(small(input_ids=ids).logits, big(input_ids=ids).logits, atol=1e-5)
    assert sum(p.numel() for p in big.parameters()) > 2 * sum(p.numel() for p in small.parameters())


def test_a_model_of_the_same_shape_goes_on_where_the_other_ended() -> None:
    small = build_model(Shape(layers=2, intermediate=256), 320, seed=1)
    same = grow(small, Shape(layers=2, intermediate=256), seed=2)
    assert all(torch.equal(a, b) for a, b in zip(small.parameters(), same.parameters(), strict=True))


def test_what_the_seedling_read_is_counted_as_read() -> None:
    parent = {"steps": 2, "rows": 3, "tokens": 5, "seconds": 1.5, "stages": ["a"], "groups_seen": ["x", "y"]}
    made = make.with_parent(dict.fromkeys(make.SUMMED, 1) | {"stages": ["b"], "groups_seen": ["y", "z"]}, parent)
    assert (made["steps"], made["rows"], made["tokens"], made["seconds"]) == (3, 4, 6, 2.5)
    assert (made["stages"], made["groups_seen"]) == (["a", "b"], ["x", "y", "z"])


def test_a_held_out_row_stops_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    source = corpus.generator()

    honest = source.stream
    monkeypatch.setattr(source, "stream", lambda seed, split: honest(seed, split="all"))
    with pytest.raises(ValueError, match="held out"):
        list(islice(corpus.rows(1, set()), 500))


def test_no_lesson_of_the_base_names_a_tool_or_an_argument_of_the_assistant() -> None:
    rng, source = Random(2), corpus.generator()
    for row in islice(source.stream(8, split="train"), 300):
        written = [exercise(rng, row)[1] for _, exercise in EXERCISES]
        assert not any('"name":' in text or '"arguments"' in text for text in written)
        written.append(dialect(row, "name", "arguments")[1])
        assert not any(tool in text for tool in source.TOOLS for text in written)
        assert not set(json.loads(written[-1])["arguments"]) & set(NAMED)


def test_tokens_that_were_never_read_are_put_among_the_others() -> None:
    model = build_model(Shape(layers=2, intermediate=256), 320, seed=1)
    table = model.get_input_embeddings().weight.data
    read = set(range(300))
    table[300:] = -5.0
    before = table[:300].clone()
    renew_unread(model, read, seed=3)
    assert torch.equal(table[:300], before)
    assert table[300:].norm(dim=1).max() < before.norm(dim=1).max()
    assert len(table[300:].unique(dim=0)) == 20


def test_the_dialect_has_a_word_of_its_own_for_every_tool_and_argument() -> None:
    tools = corpus.generator().TOOLS
    assert set(FINE_ACTS) == set(tools)
    for names in (FINE_ACTS, NAMED):
        assert len(set(names.values())) == len(names)
        assert not set(names.values()) & set(names)


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
