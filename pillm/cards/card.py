"""The card of a model: one record, from which GGUF metadata, README and a catalogue's entry are made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pillm.artifacts import Basis, Benchmark, Checkpoint, Evaluation, Figure, ModelFile, to_json
from pillm.cards.lineage import ADAPTER_CONFIG, keys_of, lineage_of_foreign, read_lineage
from pillm.cards.naming import ModelName, split_name, student_name, weights_of
from pillm.cards.preference import Preference
from pillm.cards.terms import Part, judge, parts_of
from pillm.contract import Contract
from pillm.encoders import is_encoder
from pillm.errors import DataError
from pillm.records import JSONObject

CARD_FILE = "card.json"
CARD_VERSION = 1

Relation: TypeAlias = Literal["finetune", "quantized", "adapter"]
Purpose: TypeAlias = Literal["text-generation", "feature-extraction"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a run says of a checkpoint that the checkpoint's own folder does not: it may change without a training."""

    recipe: str | None = None
    """The hash of what in the recipe makes the file."""
    license: str | None = None
    terms: Mapping[str, str | None] = field(default_factory=dict)
    """The terms of base, teacher and data, as a person says them."""
    accepted: tuple[str, ...] = ()
    """Of which of them a person has read the terms, and says that they are kept."""

    def to_json(self) -> JSONObject:
        """Return it as plain JSON, without what is not said."""
        terms = {role: said for role, said in self.terms.items() if said}
        said = {"recipe": self.recipe, "license": self.license, "terms": terms, "accepted": list(self.accepted)}
        return {name: value for name, value in said.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast a file is on a device, in tokens per second, and whether that was measured there."""

    device: str
    basis: Basis
    pp_tps: float
    tg_tps: float
    void: tuple[str, ...] = ()
    """What disturbed the machine while it was timed: such a speed promises nothing; empty where it counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFile:
    """One model file: what it is, how good and how fast."""

    file: str
    quant: str
    bytes: int
    sha256: str
    chosen: bool = False
    """Whether it is the one to take."""
    scores: dict[str, dict[str, Figure]] = field(default_factory=dict)
    """By set and metric."""
    speeds: tuple[Speed, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What the files are compared with: the teacher, the untrained base, the checkpoint."""

    kind: str
    name: str
    scores: dict[str, dict[str, Figure]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a model is, what it was made from, under what terms it may be passed on, and how good its files are."""

    card_version: int = CARD_VERSION
    name: str
    """As people read it."""
    basename: str
    size_label: str | None = None
    finetune: str | None = None
    version: str = "v1.0"
    license: str | None = None
    license_link: str | None = None
    publishable: bool = False
    """Whether nothing is known to stand against passing it on."""
    reasons: tuple[str, ...] = ()
    """What stands against it."""
    terms: str = ""
    """The verdict in a sentence or two."""
    parts: tuple[Part, ...] = ()
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    lineage: dict[str, str] = field(default_factory=dict)
    """What the metadata of every file says under `pillm.`: hashes of recipe, data and contract, teacher, seed, versions."""
    system: str | None = None
    """The system message that the student was taught under, where it is the same for all rows that had none."""
    relation: Relation = "finetune"
    """What it is of its base: trained from it, the same in another format, or an adapter to be put on it."""
    purpose: Purpose = "text-generation"
    chosen_by: str = ""
    """Why the chosen file was chosen, as the end of a sentence."""
    stop_tokens: tuple[str, ...] = ()
    files: tuple[CardFile, ...] = ()
    compared: tuple[Compared, ...] = ()

    @property
    def stem(self) -> str:
        """Return the name of the files without their quantisation."""
        return ModelName(self.basename, self.size_label, self.finetune, self.version).stem

    @property
    def base(self) -> Part | None:
        """Return what the student was trained from."""
        return next((part for part in self.parts if part.role == "base"), None)


def card_of(
    checkpoint: Checkpoint,
    *,
    version: str = "v1.0",
    license: str | None = None,
    title: str | None = None,
    adapter: tuple[Path, Path | None] | None = None,
) -> Card:
    """Return the card of a checkpoint before anything was made of it: no files, no scores.

    A licence that is given outweighs the run's. `adapter` are the folders of an adapter and of its base that the
    checkpoint is laid out of, by default its own where it is an adapter. Raises DataError where the checkpoint's lineage
    is damaged.
    """
    adapter = adapter or ((checkpoint.path, None) if (checkpoint.path / ADAPTER_CONFIG).is_file() else None)
    lineage, told = read_lineage(checkpoint) or lineage_of_foreign(checkpoint, adapter), told_of(checkpoint)
    parts = parts_of(lineage, told.terms)
    base = next((part for part in parts if part.role == "base"), None)
    name = student_name(checkpoint.label, base.name if base else None, weights_of(checkpoint.path), version)
    as_it_was = "train" not in lineage and adapter is None
    if as_it_was and base:  # nobody tuned it
        was = split_name(base.name)
        name = replace(was, size_label=name.size_label or was.size_label, version=version)
    verdict = judge(parts, license or told.license, told.accepted)
    contract = Contract.from_json(checkpoint.contract)
    same = base is not None and base.license == verdict.license
    return Card(
        name=title or name.title,
        basename=name.basename,
        size_label=name.size_label,
        finetune=name.finetune,
        version=name.version,
        license=verdict.license,
        license_link=base.link if base and same else None,
        publishable=verdict.publishable,
        reasons=verdict.reasons,
        terms=verdict.sentence,
        parts=parts,
        languages=tuple((lineage.get("data") or {}).get("languages") or ()),
        tags=("distillation", "pillm") if lineage.get("teacher") else (),
        lineage=_lineage(lineage, told, checkpoint),
        system=contract.system,
        stop_tokens=contract.stop_tokens,
        relation="quantized" if as_it_was else "finetune",
        purpose="feature-extraction" if _embeds(checkpoint) else "text-generation",
    )


def _embeds(checkpoint: Checkpoint) -> bool:
    return (checkpoint.path / "config.json").is_file() and is_encoder(checkpoint.config)


def told_of(checkpoint: Checkpoint) -> Told:
    """Return what the run says of a checkpoint."""
    said = checkpoint.told or {}
    return Told(**{**said, "accepted": tuple(said.get("accepted", ()))})


def _lineage(lineage: JSONObject, told: Told, checkpoint: Checkpoint) -> dict[str, str]:
    """Return the `pillm.` keys of a file, without what is not known."""
    found = {"pillm.recipe": told.recipe, **keys_of(lineage), "pillm.contract": checkpoint.contract.get("hash")}
    return {name: str(value) for name, value in found.items() if value is not None}


def with_results(
    card: Card,
    models: Sequence[ModelFile],
    evaluations: Sequence[Evaluation] = (),
    benchmarks: Sequence[Benchmark] = (),
    *,
    chosen: Preference | None = None,
) -> Card:
    """Return a card with its files and what was measured of them; `chosen` is the one to take."""
    files = tuple(
        CardFile(
            file=model.path.name,
            quant=model.quant,
            bytes=model.bytes,
            sha256=model.sha256,
            chosen=chosen is not None and model.label == chosen.file,
            scores={one.set: one.metrics for one in evaluations if (one.kind, one.subject) == ("model", model.label)},
            speeds=tuple(
                Speed(
                    device=one.device, basis=one.basis, pp_tps=round(one.pp_tps, 2), tg_tps=round(one.tg_tps, 2), void=one.void
                )
                for one in benchmarks
                if one.model == model.label
            ),
        )
        for model in models
    )
    subjects = dict.fromkeys((one.kind, one.subject) for one in evaluations if one.kind != "model")
    compared = tuple(
        Compared(kind=kind, name=name, scores={one.set: one.metrics for one in evaluations if (one.kind, one.subject) == key})
        for key in subjects
        for kind, name in [key]
    )
    return replace(card, files=files, compared=compared, chosen_by=chosen.why if chosen else "")


def card_to_json(card: Card) -> JSONObject:
    """Return a card as plain JSON."""
    return to_json(card)


def read_card(path: Path) -> Card:
    """Return the card that a file holds; raise DataError where it holds none."""
    try:
        said = json.loads(path.read_text("utf-8"))
        if said.get("card_version") != CARD_VERSION:
            raise ValueError(f"it is of version {said.get('card_version')!r}, and {CARD_VERSION} is known")
        return _card(said)
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise DataError(f"{path} is not a model's card ({error}). Export again: the card is written with the files.") from error


def _card(said: JSONObject) -> Card:
    files = tuple(_file(one) for one in said.get("files", ()))
    compared = tuple(Compared(**{**one, "scores": _scores(one["scores"])}) for one in said.get("compared", ()))
    parts = tuple(Part(**one) for one in said.get("parts", ()))
    texts = {name: tuple(said.get(name, ())) for name in ("reasons", "languages", "tags", "stop_tokens")}
    return Card(**{**said, **texts, "parts": parts, "files": files, "compared": compared})


def _file(said: JSONObject) -> CardFile:
    speeds = tuple(Speed(**{**one, "void": tuple(one.get("void", ()))}) for one in said.get("speeds", ()))
    return CardFile(**{**said, "scores": _scores(said.get("scores", {})), "speeds": speeds})


def _scores(said: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Figure]]:
    return {name: {metric: Figure(**figure) for metric, figure in metrics.items()} for name, metrics in said.items()}
