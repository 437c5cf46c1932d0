"""An endless stream of spoken requests, each with the tool call it asks for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Literal

import yaml
from grammar import SWITCHED, Lexicon, Span, expand
from layers import Layers
from tools import TOOLS, arrange

MATERIAL = Path(__file__).resolve().parent / "material"
LANGUAGES = {"en": "en-CA", "fr": "fr-CA"}
REGISTERS = ("standard", "casual", "joual", "terse", "polite", "indirect")
ONE_IN = 10
FEWEST = 2
NAME, LICENSE = "pillm-assistant", "CC0-1.0"

Split = Literal["train", "test", "all"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Group:
    """One phrasing of one intent in one language."""

    name: str
    intent: str
    lang: str
    register: str
    frame: str
    nodes: list[Any]


def load(name: str) -> Any:
    """Read one file of written material."""
    return yaml.safe_load((MATERIAL / f"{name}.yaml").read_text("utf-8"))


@cache
def lexicons() -> dict[str, Lexicon]:
    """Return the slots of each language."""
    slots = load("slots")
    made = {lang: Lexicon(lang, slots[lang], slots["arguments"]) for lang in LANGUAGES}
    made["fr"].other, made["en"].other = made["en"], made["fr"]
    return made


@cache
def layers() -> dict[str, Layers]:
    """Return the layers of each language."""
    material = load("layers")
    return {lang: Layers(lang, material[lang]) for lang in LANGUAGES}


@cache
def groups() -> list[Group]:
    """Return every group of every intent."""
    return [
        compiled(intent, lang, number, line)
        for intent in TOOLS
        for lang, lines in load(intent)["groups"].items()
        for number, line in enumerate(lines, 1)
    ]


def compiled(intent: str, lang: str, number: int, line: str) -> Group:
    """Compile one written line, "register> frame"."""
    register, _, frame = line.partition("> ")
    if register not in REGISTERS:
        raise ValueError(f"{intent}/{lang}/{number:02}: no register {register!r}")
    nodes = lexicons()[lang].compile(frame)
    return Group(f"{intent}/{lang}/{number:02}", intent, lang, register, frame, nodes)


@cache
def test_groups() -> frozenset[str]:
    """Choose the groups kept for the test, the same share of each intent and language."""
    pools: dict[tuple[str, str], list[str]] = {}
    for group in groups():
        pools.setdefault((group.intent, group.lang), []).append(group.name)
    chosen: set[str] = set()
    for names in pools.values():
        drawn = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
        chosen.update(drawn[: max(FEWEST, round(len(names) / ONE_IN))])
    return frozenset(chosen)


def held_out(group: str) -> bool:
    """Tell whether a group is kept for the test."""
    return group in test_groups()


def in_split(group: Group, split: Split) -> bool:
    """Tell whether a group belongs to a split."""
    return split == "all" or held_out(group.name) == (split == "test")


def render(group: Group, rng: Random) -> tuple[str, dict[str, Any], list[str]]:
    """Draw one request of a group: its text, its arguments and its tags."""
    spans: list[Span] = []
    values: dict[str, Any] = {}
    expand(group.nodes, rng, spans, values)
    tags = [group.intent, group.lang, group.register]
    if values.pop(SWITCHED, False):
        tags.append("code-switch")
    spans = layers()[group.lang].apply(rng, spans, tags)
    copied: dict[str, str] = {}
    for text, key in spans:
        if key:
            copied[key] = copied.get(key, "") + text
    values.update((key, tidy(text).lower()) for key, text in copied.items())
    said = tidy("".join(text for text, _ in spans))
    return said.replace(" ?", "?") if group.lang == "en" else said, values, tags


def tidy(text: str) -> str:
    """Remove the spaces left over by empty choices."""
    return " ".join(text.split()).replace(" ,", ",").replace(" .", ".")


def answer(intent: str, values: dict[str, Any]) -> str:
    """Write a tool call as compact JSON."""
    call = arrange(intent, values)
    return json.dumps(call, ensure_ascii=False, separators=(",", ":"))


def row(group: Group, rng: Random, number: int) -> Row:
    """Draw one row of a group."""
    text, values, tags = render(group, rng)
    made: Row = {
        "id": f"{group.name.replace('/', '-')}-{number:03}",
        "messages": [{"role": "user", "content": text}],
        "schema": "assistant",
        "reference": {"content": answer(group.intent, values), "origin": "template"},
        "group": group.name,
    }
    if held_out(group.name):
        made["split"] = "test"
    made.update(language=LANGUAGES[group.lang], tags=tags, source=NAME, license=LICENSE)
    return made


def stream(seed: int, split: Split = "all") -> Iterator[Row]:
    """Yield rows without end, uniformly over the intents, then over their groups."""
    rng = Random(seed)
    pools = [[g for g in groups() if g.intent == intent and in_split(g, split)] for intent in TOOLS]
    counters = {group.name: count(1) for pool in pools for group in pool}
    while True:
        pool = pools[int(rng.random() * len(pools))]
        group = pool[int(rng.random() * len(pool))]
        yield row(group, rng, next(counters[group.name]))
