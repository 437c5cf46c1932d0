"""What a card says in a GGUF file: `general.*` as llama.cpp's world reads it, and the lineage under `pillm.*`."""

from __future__ import annotations

from typing import TypeAlias

from pillm.cards.card import Card
from pillm.cards.naming import split_name
from pillm.cards.terms import Part

MetadataValue: TypeAlias = str | int | list[str]


def metadata_of(card: Card) -> dict[str, MetadataValue]:
    """Return the keys that a card gives to a GGUF file, each with its value."""
    found: dict[str, MetadataValue | None] = {
        "general.name": card.name,
        "general.basename": card.basename,
        "general.size_label": card.size_label,
        "general.finetune": card.finetune,
        "general.version": card.version,
        "general.quantized_by": "pillm",
        "general.license": card.license,
        "general.license.link": card.license_link,
        "general.languages": list(card.languages),
        "general.tags": list(card.tags),
    }
    base, data = card.base, [part for part in card.parts if part.role == "data" and part.name]
    if base:
        found |= {"general.base_model.count": 1, **_source("general.base_model.0", base)}
    if data:
        names = {part.name: part for part in data}
        found["general.dataset.count"] = len(names)
        for number, part in enumerate(names.values()):
            found |= _source(f"general.dataset.{number}", part)
    for role in ("base", "teacher", "data"):
        terms = dict.fromkeys(part.license or "unknown" for part in card.parts if part.role == role)
        if terms:
            found[f"pillm.license.{role}"] = ", ".join(terms)
    if card.parts:
        found["pillm.terms"] = card.terms
    return {**{name: value for name, value in found.items() if value}, **card.lineage}


def _source(prefix: str, part: Part) -> dict[str, MetadataValue | None]:
    """Return the keys of a base model or a data set; a hub's id gives its owner and its address too."""
    owner, _, name = part.name.rpartition("/")
    public = owner.count("/") == 0 and bool(owner) and not owner.startswith(".")
    return {
        f"{prefix}.name": split_name(name).title if public else name,
        f"{prefix}.organization": owner if public else None,
        f"{prefix}.version": part.revision,
        f"{prefix}.repo_url": f"https://huggingface.co/{part.name}" if public else None,
    }
