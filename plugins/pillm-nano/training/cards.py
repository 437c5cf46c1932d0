"""The cards that are written beside the weights, with the figures of their own run."""

from __future__ import annotations

from typing import Any

HEAD = """\
---
license: {license}
language: [fr, en]
library_name: transformers
pipeline_tag: text-generation
---

# {name}

A model of {millions:.1f} million parameters, made for one demonstration: that pillm distils a teacher into a
student on any computer, offline, in minutes. It is not a useful assistant and knows nothing of the world.
"""
TEACHER = """
## What it does

Reads one request as people say it in Quebec French or in English, and writes one compact JSON tool call:
`{"name":"HassTurnOn","arguments":{...}}`. Seventeen tools: calendar, e-mail, local search, notes, and Home Assistant intents.

## What it saw

It was grown from the seedling of `nano-base`, its own student's base: the same weights, with two more layers and wider
ones that begin silent. So it has read what the base read first, as the base's card says. Then it learnt the task from
train-side rows of the dataset `pillm-assistant`: requests drawn from written phrasings by a program, with the answers
that the same program gives.
Phrasings that the dataset holds out were never seen, neither by the weights nor by the tokenizer.
"""
BASE = """
## What it does

Nothing yet: it is the base of a student. As it stands, it answers requests in a dialect that no tool understands.

## What it saw

Requests from train-side rows of the dataset `pillm-assistant`, never a phrasing that the dataset holds out:

- the requests themselves, to read;
- copying exercises made from their words: named or marked spans, written as small JSON objects with other keys;
- extraction exercises: the same request, answered with lines such as `act = adjust` and `room = cuisine`, or with a JSON
  object of such keys. The values are those of the reference answers. The keys are not; the act is one of eleven
  coarse kinds (`adjust` for four tools, `ask` for three, `add` for two); and in four rows of ten one value was
  replaced by other words, so that copying is the only way;
- one request in twelve of all these in capitals;
- in the last quarter of its lessons the request alone, answered in a dialect of tool calls: first
  `{"act":"lamp","with":{"room":"cuisine"}}`, then in the frame that tool calls everywhere have,
  `{"name":"lamp","arguments":{"room":"cuisine"}}`. Each tool has a foreign name there, and so has each argument; one
  row of five has a value replaced.

Afterwards the embeddings of the tokens that these last lessons do not hold, the tools' names among them, were put at random
places among the others: pushed into one corner for so long, they could not be learnt in a short training.

So it has practised reading requests of this very kind, which is far more than a general base has: it is what makes two
minutes of training on a few thousand answers enough. What it never saw is a tool's name or an argument's own key (but
`name`, which the frame shares), and untaught it answers nothing right.
"""
TAIL = """
## Figures

What the seedling read, from which both nano models grow, is counted in.

| | |
|---|---|
| exact match on {rows_held_out:,} held-out rows (JSON equality, greedy) | {exact_held_out:.3f} |
| rows read in training | {rows:,} |
| tokens | {tokens:,} |
| steps | {steps:,} |
| seconds of training | {seconds:,.0f} |
| seed | {seed} |

No held-out row was trained on, but a handful of trial recipes were compared on held-out rows: expect a little less on
phrasings that nobody has looked at.

## Shape

Llama, {layers} layers, hidden size {hidden}, intermediate size {intermediate}, {heads} heads, {kv_heads} key-value heads, tied
embeddings, bfloat16. Every row of every matrix is a multiple of 256 long, so that llama.cpp's K-quants apply to
all of them. Byte-level BPE with the GPT-2 pre-tokenizer; ChatML turns; `<|im_end|>` ends a turn; no beginning token.

## Limits

One request, one call. Negation, several wishes at once, other languages and anything outside the seventeen tools
give a confident wrong answer. Never let it act without a check.
"""


def card(name: str, made: dict[str, Any]) -> str:
    """Return the card of a model from the record of its run."""
    middle = TEACHER if name == "nano-teacher" else BASE
    head = HEAD.format(name=name, millions=made["parameters"] / 1e6, license="mit")
    return head + middle + TAIL.format(**(made["shape"] | made))
