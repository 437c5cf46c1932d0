"""Make the nano models again from a seed.

`python make.py [seedling|sapling|pupil|base|teacher|all] [--seed N] [--threads N] [--out FOLDER]`
"""

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
from exercises import mastery, practice, rehearsal, schooling
from growth import grow, renew_unread
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
READ_ROWS = 40_000
SUMMED = ("steps", "rows", "tokens", "seconds")


class Recipe(NamedTuple):
    """How a model is made: its shape, the model that it grows from, its lessons, and which rows of the stream they read."""

    shape: Shape
    grown_from: str | None
    lessons: Callable[[Iterator[Row], Encoder, int], Iterator[Encoded]]
    stream: int
    settings: Settings
    renewed: bool = False  # whether tokens that no lesson of this recipe holds are put where training can fetch them


SMALL, LARGE = Shape(layers=4, intermediate=256), Shape(layers=6, intermediate=768)
MORE = Settings(steps=4000, learning_rate=2e-3, decay_share=0.8)
TASK = Settings(
    steps=2000, learning_rate=1e-3, warmup_steps=50, decay_share=0.95, prompt_weight=0.0, average_decay=0.0, muon=False
)
PRACTICE = Settings(steps=2500, learning_rate=2e-3, decay_share=0.8, prompt_weight=0.0, products="float32")
REHEARSAL = Settings(steps=700, learning_rate=1.2e-3, decay_share=0.9, prompt_weight=0.0, products="float32")
# Both shipped models grow from one seedling, which can read requests; seedling, sapling and pupil are not shipped.
RECIPES = {
    "nano-seedling": Recipe(SMALL, None, schooling, 3, Settings(steps=6000)),
    "nano-sapling": Recipe(SMALL, "nano-seedling", schooling, 5, MORE),
    "nano-pupil": Recipe(SMALL, "nano-sapling", practice, 9, PRACTICE),
    "nano-base": Recipe(SMALL, "nano-pupil", rehearsal, 9, REHEARSAL, renewed=True),
    "nano-teacher": Recipe(LARGE, "nano-seedling", mastery, 4, TASK),
}
SHIPPED = ("nano-base", "nano-teacher")


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


def folder_of(name: str, out: Path) -> Path:
    """Return where a model is written; what is not shipped lies beside this program."""
    return HERE / name if out == MODELS and name not in SHIPPED else out / name


def make_model(name: str, seed: int, out: Path, seen: set[str], recipe: Recipe) -> dict[str, Any]:
    """Train one model, write its folder, and return what was measured."""
    folder = folder_of(name, out)
    vocabulary = make_tokenizer(seed, seen)
    write_tokenizer(vocabulary, folder)
    if recipe.grown_from:
        model = grow(load(folder_of(recipe.grown_from, out))[0], recipe.shape, seed)
    else:
        model = build_model(recipe.shape, vocabulary.get_vocab_size(), seed)
    (folder / "config.json").write_text(model.config.to_json_string(), encoding="utf-8")
    encode = Encoder(load_tokenizer(folder))
    lessons = recipe.lessons(rows(seed + recipe.stream, seen), encode, seed)
    took = train(model, lessons, recipe.settings, name)
    if recipe.renewed:
        again = recipe.lessons(rows(seed + recipe.stream, seen), encode, seed)
        renew_unread(model, {token for ids, _ in islice(again, READ_ROWS) for token in ids}, seed)
    stage = {"lessons": recipe.lessons.__name__, "threads": torch.get_num_threads()} | took | asdict(recipe.settings)
    made = {"seed": seed, "grown_from": recipe.grown_from, "shape": asdict(recipe.shape)}
    made |= {"parameters": sum(p.numel() for p in model.parameters())} | {key: took[key] for key in SUMMED}
    return made | {"stages": [stage], "sha256": write_model(model, folder)}


def with_parent(made: dict[str, Any], parent: dict[str, Any]) -> dict[str, Any]:
    """Count what a model's parent read as read by the model."""
    sums = {key: round(made[key] + parent[key], 1) for key in SUMMED}
    groups = sorted({*made["groups_seen"], *parent["groups_seen"]})
    return made | sums | {"stages": parent["stages"] + made["stages"], "groups_seen": groups}


def measure(folder: Path, seed: int) -> dict[str, Any]:
    """Score a written model on held-out rows, which nothing above may read."""
    held_out = list(islice(generator().stream(seed + 4, split="test"), SCORED_ROWS))
    score = exact(*load(folder), held_out)
    return {"exact_held_out": score, "rows_held_out": len(held_out)}


def main() -> None:
    """Read the command line, make the models, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", nargs="?", default="all", choices=["seedling", "sapling", "pupil", "base", "teacher", "all"])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="part of the seed: another number sums in another order")
    parser.add_argument("--out", type=Path, default=MODELS)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    record_path = HERE / "record.json" if chosen.out == MODELS else chosen.out / "record.json"
    record = json.loads(record_path.read_text("utf-8")) if record_path.exists() else {}
    for name in RECIPES if chosen.which == "all" else [f"nano-{chosen.which}"]:
        began, seen = time.monotonic(), set[str]()
        made = make_model(name, chosen.seed, chosen.out, seen, RECIPES[name])
        made |= measure(folder_of(name, chosen.out), chosen.seed) | {"groups_seen": sorted(seen)}
        if parent := RECIPES[name].grown_from:
            made = with_parent(made, record[parent])
        made["seconds_in_all"] = round(time.monotonic() - began, 1)
        packages = ("torch", "transformers", "tokenizers", "safetensors")
        made["versions"] = {"python": platform.python_version()} | {p: version(p) for p in packages}
        record[name] = made
        if name in SHIPPED:
            (chosen.out / name / "README.md").write_text(card(name, made), encoding="utf-8")
        record_path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{name}: exact {made['exact_held_out']:.3f} on held-out rows", file=sys.stderr)


if __name__ == "__main__":
    main()
