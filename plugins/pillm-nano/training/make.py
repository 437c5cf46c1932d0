"""Make the nano models again from a seed: `python make.py [teacher|base|all] [--seed N] [--out FOLDER]`."""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from cards import card
from corpus import Encoder, Row, answer_of, generator, rows, text_of
from exercises import mastery, schooling
from growth import grow
from loop import Encoded, Settings, Shape, build_model, train
from scoring import exact, load
from tokenizer import load_tokenizer, train_tokenizer, write_tokenizer
from tokenizers import Tokenizer
from transformers import GenerationConfig, LlamaForCausalLM

HERE = Path(__file__).resolve().parent
MODELS = HERE.parent / "pillm_nano" / "models"
VOCABULARY = 1536
TOKENIZER_ROWS = 40_000
SCORED_ROWS = 1_000


class Stage(NamedTuple):
    """A stretch of training: its lessons, which rows of the stream it reads, and its settings."""

    lessons: Callable[[Iterator[Row], Encoder, int], Iterator[Encoded]]
    stream: int
    settings: Settings


class Recipe(NamedTuple):
    """How a model is made: its shape, the model that it grows from, and its stages."""

    shape: Shape
    grown_from: str | None
    stages: list[Stage]


TASK = Settings(
    steps=1100, learning_rate=1e-3, warmup_steps=50, decay_share=0.95, prompt_weight=0.0, average_decay=0.0, muon=False
)
RECIPES = {
    "nano-base": Recipe(Shape(layers=4, intermediate=256), None, [Stage(schooling, 3, Settings(steps=1900))]),
    "nano-teacher": Recipe(Shape(layers=6, intermediate=768), "nano-base", [Stage(mastery, 4, TASK)]),
}


def make_tokenizer(seed: int, seen: set[str]) -> Tokenizer:
    """Train the tokenizer on train-side requests and answers."""
    chosen = islice(rows(seed + 1, seen), TOKENIZER_ROWS)
    # Role names and JSON marks of other notations must be cheap for both models.
    texts = ["system user assistant tool"] * 100
    texts += [text for row in chosen for text in (text_of(row), answer_of(row))]
    return train_tokenizer(texts, VOCABULARY)


def write_model(model: LlamaForCausalLM, folder: Path) -> str:
    """Write weights in bfloat16 with their settings, and return the sha256 of the weights."""
    model.config._attn_implementation = "sdpa"
    model.generation_config = GenerationConfig(do_sample=False, eos_token_id=2, pad_token_id=0, max_new_tokens=160)
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def make_model(name: str, seed: int, out: Path, seen: set[str], recipe: Recipe) -> dict[str, Any]:
    """Train one model, write its folder, and return what was measured."""
    folder = out / name
    vocabulary = make_tokenizer(seed, seen)
    write_tokenizer(vocabulary, folder)
    if recipe.grown_from:
        model = grow(load(out / recipe.grown_from)[0], recipe.shape, seed)
    else:
        model = build_model(recipe.shape, vocabulary.get_vocab_size(), seed)
    (folder / "config.json").write_text(model.config.to_json_string(), encoding="utf-8")
    encode = Encoder(load_tokenizer(folder))
    took = []
    for stage in recipe.stages:
        lessons = stage.lessons(rows(seed + stage.stream, seen), encode, seed)
        # Each stage starts from sixteen-bit weights, as they are shipped, so that it can also be run alone.
        model = model.to(torch.bfloat16).float() if took else model
        took.append({"lessons": stage.lessons.__name__} | train(model, lessons, stage.settings, name) | asdict(stage.settings))
    digest = write_model(model, folder)
    made = {"seed": seed, "grown_from": recipe.grown_from, "shape": asdict(recipe.shape)}
    made["parameters"] = sum(p.numel() for p in model.parameters())
    made |= {key: round(sum(stage[key] for stage in took), 1) for key in ("steps", "rows", "tokens", "seconds")}
    return made | {"stages": took, "sha256": digest}


def measure(folder: Path, seed: int) -> dict[str, Any]:
    """Score a written model on held-out rows, which nothing above may read."""
    held_out = list(islice(generator().stream(seed + 4, split="test"), SCORED_ROWS))
    score = exact(*load(folder), held_out)
    return {"exact_held_out": score, "rows_held_out": len(held_out)}


def main() -> None:
    """Read the command line, make the models, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", nargs="?", default="all", choices=["teacher", "base", "all"])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=MODELS)
    chosen = parser.parse_args()
    # One thread gives the same sums everywhere, and never waits for a second core that others are using.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    record_path = HERE / "record.json" if chosen.out == MODELS else chosen.out / "record.json"
    record = json.loads(record_path.read_text("utf-8")) if record_path.exists() else {}
    for name in RECIPES if chosen.which == "all" else [f"nano-{chosen.which}"]:
        began, seen = time.monotonic(), set[str]()
        made = make_model(name, chosen.seed, chosen.out, seen, RECIPES[name])
        made |= measure(chosen.out / name, chosen.seed) | {"groups_seen": sorted(seen)}
        made["seconds_in_all"] = round(time.monotonic() - began, 1)
        packages = ("torch", "transformers", "tokenizers", "safetensors")
        made["versions"] = {"python": platform.python_version()} | {p: version(p) for p in packages}
        record[name] = made
        (chosen.out / name / "README.md").write_text(card(name, made), encoding="utf-8")
        record_path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{name}: exact {made['exact_held_out']:.3f} on held-out rows", file=sys.stderr)


if __name__ == "__main__":
    main()
