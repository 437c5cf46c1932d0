"""The logit gate: a file in full precision must compute what its checkpoint computes, or the conversion lost something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pillm

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pillm_llamacpp.converting.conversion import Converted
    from pillm_llamacpp.workers.client import Worker

ROWS = 8
TOKENS = 512
"""After how many a conversation is cut: what comes before the answer is often the same in all of them."""
LARGEST = 2e-2
"""How far a logit may be off where the checkpoint's largest, from their mean, is up to `PEAK`; beyond that in proportion.

llama.cpp rounds what it multiplies with 16-bit weights to 16 bit too, which costs each sum a thousandth of its size or so."""
PEAK = 8.0
TIE = 2 * LARGEST
"""How near to each other two logits are a tie: each may be off by half of it."""
TOP1 = 0.999
KLD = 1e-3
_ADVICE = (
    "No GGUF was left. The pinned llama.cpp may not support this architecture fully, or one of its settings in config.json: "
    "choose another base model."
)


def measure(
    worker: Worker, made: Converted, rows: int | None = None, progress: pillm.Progress | None = None, lora: Path | None = None
) -> tuple[pillm.Agreement, list[dict[str, Any]]]:
    """Return how near the file that a worker has open is to its checkpoint, over the first rows, and what each row gave.

    `lora` is the file of an adapter that lies on it. Raises BackendError where a number is not finite.
    """
    found: list[dict[str, Any]] = []
    offset = 0
    for row in made.predicted[:rows]:
        asked = {"ids": row["ids"], "places": row["places"], "width": row["width"], "lora": str(lora) if lora else None}
        gave = worker.ask(op="compare", reference=str(made.reference), offset=offset, **asked)
        offset += row["places"] * row["width"]
        if "unfinite" in gave:
            raise pillm.BackendError(_unfinite(worker, gave, len(found) + 1))
        found.append({**gave, "first": len(row["ids"]) - row["places"]})
        if progress:
            progress.advance()
    places = sum(one["places"] for one in found)
    others = [other for one in found for other in one["others"]]
    ties = sum(gap <= TIE for *_, gap in others)
    kld = sum(one["kld"] for one in found) / max(1, places)
    largest = max((one["largest"] for one in found), default=0.0)
    top1 = 1 - len(others) / max(1, places)
    return pillm.Agreement(places=places, largest=largest, top1=top1, ties=ties, kld=kld), found


def largest_allowed(found: Sequence[dict[str, Any]]) -> float:
    """Return how far a logit may be off."""
    return LARGEST * max(1.0, max((one["peak"] for one in found), default=0.0) / PEAK)


def check(worker: Worker, path: Path, made: Converted, progress: pillm.Progress, lora: Path | None = None) -> pillm.Agreement:
    """Return how near a file in full precision is to its checkpoint; raise BackendError where that is not near enough.

    Where the two choose another token although the checkpoint's own logits of the two are nearer than `TIE`, that is a tie
    which rounding broke, and counts as the same.
    """
    progress.start(
        len(made.predicted), unit="conversations", message=f"comparing the logits of {path.name} with the checkpoint's"
    )
    near, found = measure(worker, made, progress=progress, lora=lora)
    bound = largest_allowed(found)
    if near.largest > bound:
        number = max(range(len(found)), key=lambda index: found[index]["largest"])
        place = found[number]["first"] + found[number]["at"]
        raise pillm.BackendError(
            f"logits: {path.name} and the checkpoint differ by {near.largest:.2g} at token {place} of conversation "
            f"{number + 1}; rounding explains {bound:.2g}. In all: {near}. {_ADVICE}"
        )
    same = (near.top1 or 0.0) + near.ties / max(1, near.places)
    if same < TOP1:
        raise pillm.BackendError(
            f"logits: {path.name} and the checkpoint choose other tokens: {_first_other(worker, found)}. {_ADVICE}"
        )
    if (near.kld or 0.0) > KLD:
        raise pillm.BackendError(
            f"logits: {path.name} is too far from the checkpoint: {near}; a KLD of {KLD:g} is allowed. {_ADVICE}"
        )
    return near


def _first_other(worker: Worker, found: Sequence[dict[str, Any]]) -> str:
    for number, one in enumerate(found, 1):
        for place, theirs, mine, gap in one["others"]:
            if gap > TIE:
                texts = worker.ask(op="tokens", ids=[theirs, mine])["tokens"]
                return (
                    f"first at token {one['first'] + place} of conversation {number}, {texts[0]!r} in the checkpoint and "
                    f"{texts[1]!r} in the file, {gap:.2g} apart"
                )
    return "at ties"


def _unfinite(worker: Worker, gave: dict[str, Any], number: int) -> str:
    said = f"logits: {gave['unfinite']} computes NaN or infinite logits at token {gave['at']} of conversation {number}."
    if gave["unfinite"] == "the checkpoint":
        return f"{said} No GGUF was left. Train it again with a lower learning rate or in another precision."
    return (
        f"{said} No GGUF was left. Most often what it multiplies is larger than 16-bit floats reach: "
        "write BF16 instead of F16 in `quants`."
    )
