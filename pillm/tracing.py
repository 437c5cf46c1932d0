"""Trace a model file to the run that made it: does what it says of itself agree with what the run recorded?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pillm.artifacts import CONTRACT_FILE, Checkpoint, sha256_file
from pillm.cards.beside import SUMS, read_sums
from pillm.cards.card import CARD_FILE, read_card
from pillm.cards.lineage import LINEAGE_FILE, data_hash, keys_of, read_lineage
from pillm.cards.metadata import MetadataValue, metadata_of
from pillm.contract import Contract
from pillm.devices.ggufheader import read_header
from pillm.errors import DataError, PillmError
from pillm.intake.door import template_hash
from pillm.records import JSONObject, digest
from pillm.rows import read_examples
from pillm.store import MAKING, MANIFEST, read_manifest
from pillm.tokenizers import tokenizer_hash

RECIPE_FILE = "recipe.yaml"
LISTS = ("general.languages", "general.tags")
CHANGED = ("general.name",)
"""What an exporter may write otherwise than the card says: llama.cpp reads from a name how to treat blanks."""
_SIDES = ("train", "validation", "calibration")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """One thing that a file says of itself, held against what a run recorded."""

    what: str
    agrees: bool
    said: str
    """What the file says, or is."""
    recorded: str
    """What the run says of it."""
    where: Path
    """Where the run says it."""

    def __str__(self) -> str:
        if self.agrees:
            return f"✓ {self.what} agrees with {self.where.parent.name}/{self.where.name}: {self.said}"
        return f"✗ {self.what}: the file says {self.said or 'nothing'}, {self.where} says {self.recorded or 'nothing'}"


def trace(path: Path | str, run: Path | str | None = None) -> list[Traced]:
    """Hold a GGUF file's hash and metadata against a run, by default the one that it lies in; return every comparison.

    Of the run its export with card, contract and tokenizer, its checkpoint's lineage, its labelled rows and its recipe are
    asked, as far as they are there; what can be computed from what lies there is computed anew. A file that was passed on
    without its run is held against what came with it: `SHA256SUMS`, card, contract, tokenizer. Raises
    DataError where the file is no GGUF file, or no export is found to hold it against.
    """
    path = Path(path)
    header = read_header(path, texts=LISTS)
    folder = _export_folder(path, Path(run) if run is not None else None)
    manifest, listing = _listing(folder)
    said = {key: _plain(value) for key, value in {**header.metadata, **header.texts}.items()}
    found = [_bytes(path, manifest, listing)]
    alone = listing.name == SUMS
    home = Path(run) if run is not None else folder if alone else folder.parent
    if "pillm.version" in said and (version := manifest.get("versions", {}).get("pillm")):
        found.append(_compared("pillm.version", said["pillm.version"], str(version), folder / MANIFEST))
    for where, recorded in _recorded(folder, manifest, home):
        found += [_compared(key, said.get(key, ""), value, where) for key, value in recorded.items()]
    return found + _recipe(home, said.get("pillm.recipe", ""))


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _told(keys: Mapping[str, MetadataValue]) -> dict[str, str]:
    return {key: _plain(value) for key, value in keys.items() if key not in CHANGED}


def _export_folder(path: Path, run: Path | None) -> Path:
    """Return the folder of the export that a file came from."""
    places = [run, *_below(run)] if run is not None else list(path.resolve().parents)[:3]
    exports = [place for place in places if (read_manifest(place) or {}).get("verb") == "export"]
    listing = [place for place in exports if path.name in (read_manifest(place) or {}).get("files", {})]
    received = run or path.absolute().parent  # not where a link of a cache leads
    if not exports and not (received / SUMS).is_file():
        where = run if run is not None else path.parent
        raise DataError(f"no finished export is found in {where} to hold {path.name} against. Name the run: --run RUN")
    return (listing or exports or [received])[0]


def _listing(folder: Path) -> tuple[JSONObject, Path]:
    """Return the manifest of an export, or of one that was passed on the sums in its form; and which file it is."""
    if not (folder / MANIFEST).is_file():
        return {"files": {name: {"sha256": sha256} for name, sha256 in read_sums(folder).items()}}, folder / SUMS
    manifest = read_manifest(folder)
    if manifest is None:
        raise DataError(f"{folder / MANIFEST} is damaged: nothing can be held against it. Export again.")
    return manifest, folder / MANIFEST


def _below(folder: Path) -> list[Path]:
    found = [*folder.glob(f"*/{MANIFEST}"), *folder.glob(f"*/*/{MANIFEST}")]
    return sorted(file.parent for file in found if not file.parent.name.startswith("."))


def _bytes(path: Path, manifest: JSONObject, listing: Path) -> Traced:
    """Hold a file's bytes against what lists them; a file that was renamed is known by its hash."""
    actual = sha256_file(path)
    files: Mapping[str, JSONObject] = manifest["files"]
    same = next((name for name, entry in files.items() if entry["sha256"] == actual), None)
    named = files.get(path.name, {}).get("sha256", "")
    recorded = actual if same is not None and path.name not in files else str(named)
    return Traced(what="sha256", agrees=recorded == actual, said=actual, recorded=recorded, where=listing)


def _compared(key: str, said: str, recorded: str, where: Path) -> Traced:
    return Traced(what=key, agrees=said == recorded, said=said, recorded=recorded, where=where)


def _recorded(export: Path, manifest: JSONObject, run: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield what a run records of the keys of a file, place by place; what is not there says nothing."""
    if (export / CARD_FILE).is_file():
        yield export / CARD_FILE, _told(metadata_of(read_card(export / CARD_FILE)))
    if (export / CONTRACT_FILE).is_file():  # computed, not read: the hash that stands in it may have been left as it was
        contract = Contract.read(export / CONTRACT_FILE, "Export again.")
        template = {"pillm.template": template_hash(contract.template)} if contract.template else {}
        yield export / CONTRACT_FILE, {"pillm.contract": contract.hash, **template}
    trained = _trained(manifest, run)
    tokenizer = next((path for place in (export, trained) if place and (path := place / "tokenizer.json").is_file()), None)
    if tokenizer is not None:
        yield tokenizer, {"pillm.tokenizer": tokenizer_hash(tokenizer)}
    if trained is None:
        return
    made = read_manifest(trained) or {}
    lineage = read_lineage(Checkpoint(path=trained))
    if not lineage:  # an export learns of its training from there; without it the file says nothing that could be wrong
        return
    yield trained / MANIFEST, {"pillm.train": str(made["key"]), "pillm.seed": str(made["seed"])}
    yield trained / LINEAGE_FILE, keys_of(lineage)
    labelled = run / "label" / "labelled.jsonl"
    if labelled.is_file():
        whole = (read_manifest(run) or {}).get("verb") == "run"
        found = _rows_hash(labelled, None if whole else made.get("parents", {}))
        yield from [(labelled, {"pillm.data": found})] if found else []


def _trained(manifest: JSONObject, run: Path) -> Path | None:
    """Return the checkpoint that an export names as its parent; where none is it any more, the run's own."""
    parent = manifest.get("parents", {}).get("checkpoint")
    found = [place for place in [run, *_below(run)] if (read_manifest(place) or {}).get("verb") == "train"]
    exact = next((place for place in found if sha256_file(place / MANIFEST) == parent), None)
    return exact or next((place for place in found if place == run / "train"), None)


def _recipe(run: Path, said: str) -> list[Traced]:
    """Compute the recipe's hash anew from what the run's manifest says of it, and hold the recipe that lies there to that."""
    manifest = read_manifest(run) or {}
    making, listed = manifest.get("results", {}).get(MAKING), manifest.get("files", {}).get(RECIPE_FILE)
    if making is None or listed is None:
        return []
    recipe = run / RECIPE_FILE
    there = sha256_file(recipe) if recipe.is_file() else ""
    return [
        _compared("pillm.recipe", said, digest(making), run / MANIFEST),
        _compared(f"sha256 of {RECIPE_FILE}", there, str(listed["sha256"]), run / MANIFEST),
    ]


def _rows_hash(labelled: Path, parents: Mapping[str, str] | None) -> str:
    """Return the hash of the rows that a training takes from a labelled file; of one that cannot be read, the reason.

    `parents` are the rows that the training names; a file of other rows is of another labelling, and says nothing.
    """
    try:
        rows = list(read_examples(labelled))
    except PillmError as error:
        return str(error)
    sides = {side: [row for row in rows if (row.prompt.split or "train") == side] for side in _SIDES}
    names = {side: digest([row.key or row.prompt.id for row in found]) for side, found in sides.items()}
    return data_hash(sides) if parents is None or names == parents else ""
