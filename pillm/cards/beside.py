"""What stands beside model files: `card.json`, `README.md` and `SHA256SUMS`, written anew when more is known."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from pillm.amending import amend
from pillm.artifacts import Benchmark, Checkpoint, Evaluation, ModelFile, sha256_file
from pillm.cards.card import CARD_FILE, Card, card_of, card_to_json, read_card, with_results
from pillm.cards.modelcard import model_card
from pillm.cards.preference import Preference, preferred_file
from pillm.errors import DataError
from pillm.files import write_text
from pillm.records import JSONObject
from pillm.store import MANIFEST, exempt, read_manifest

README, SUMS, MODELFILE = "README.md", "SHA256SUMS", "Modelfile"
_SUM = re.compile(r"([0-9a-f]{64}) [ *]([^/\0].*)")
_FROM = re.compile(r"^(?:# It takes .*\n)?FROM \./.*$", re.MULTILINE)


def write_card(folder: Path, card: Card) -> None:
    """Write `card.json` into a folder; raise StorageError where that fails."""
    write_text(folder / CARD_FILE, _card_text(card))


def write_beside(folder: Path, card: Card) -> None:
    """Write a card and what is made of it into the folder of its files."""
    for name, text in _texts(folder, card).items():
        write_text(folder / name, text)


def _card_text(card: Card) -> str:
    return json.dumps(card_to_json(card), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def _texts(folder: Path, card: Card, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what is made of a card, by file, and sums over it and all that is there; `more` are texts that change too."""
    there = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    beside = [name for name in there if not exempt(name) and name != MANIFEST]
    texts = {CARD_FILE: _card_text(card), README: model_card(card, [*beside, SUMS]), **(more or {})}
    known = {name: sha256(text.encode()).hexdigest() for name, text in texts.items()}
    return {**texts, SUMS: sums_of(folder, {one.file: one.sha256 for one in card.files} | known)}


def sums_of(folder: Path, known: Mapping[str, str]) -> str:
    """Return `SHA256SUMS` over a folder's files, as `sha256sum -c` reads it; `known` are hashes that need not be made again.

    The README is not among them: people go on writing it, here and on a hub.
    """
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} | set(known)
    kept = sorted(name for name in names if name not in (SUMS, README, MANIFEST) and not exempt(name))
    return "".join(f"{known.get(name) or sha256_file(folder / name)}  {name}\n" for name in kept)


def read_sums(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file that a folder's `SHA256SUMS` lists, by name; empty where there is no such list.

    Raises DataError where it is no such list, or names a place outside of the folder.
    """
    path = folder / SUMS
    if not path.is_file():
        return {}
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}). Get it again from where the files came from.") from error
    found = {}
    for number, line in enumerate(lines, 1):
        match = _SUM.fullmatch(line)
        if match is None or ".." in Path(match[2]).parts:
            remedy = "Get it again from where the files came from."
            raise DataError(f"{path}:{number} is no sha256 and a file of this folder. {remedy}")
        found[match[2].removeprefix("./")] = match[1]
    return found


def refresh(
    folder: Path, evaluations: Sequence[Evaluation], benchmarks: Sequence[Benchmark], *, chosen: Preference | None = None
) -> Card:
    """Write the card of exported files anew with what was measured since, and return it; nothing is written where it stands so.

    The model files stay as they are; `chosen` is the one to take, by default what `preferred_file` says. Raises DataError
    where `folder` holds no export, or one without a card.
    """
    manifest = read_manifest(folder)
    if manifest is None or manifest.get("verb") != "export":
        raise DataError(f"{folder} holds no finished export; its manifest is missing or damaged. Export again.")
    models = _models(folder, manifest)
    chosen = chosen or preferred_file(models, folder)
    told = with_results(read_card(folder / CARD_FILE), models, evaluations, benchmarks, chosen=chosen)
    texts = _texts(folder, told, _modelfile(folder, chosen))
    if any(_read(folder / name) != text.encode() for name, text in texts.items()):
        with amend(folder, "export") as work:
            for name, text in texts.items():
                write_text(work / name, text)
    return told


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _modelfile(folder: Path, chosen: Preference | None) -> dict[str, str]:
    """Return the Modelfile that takes the chosen file, where there is one."""
    path = folder / MODELFILE
    if chosen is None or not path.is_file():
        return {}
    return {MODELFILE: _FROM.sub(lambda _: ollama_from(chosen), path.read_text("utf-8"), count=1)}


def ollama_from(chosen: Preference) -> str:
    """Return the line of Ollama's Modelfile that names the file it takes (FROM), after one that says why that one."""
    return f"# It takes this file: {' '.join(chosen.why.split())}.\nFROM ./{chosen.file}"


def _models(folder: Path, manifest: JSONObject) -> list[ModelFile]:
    names = ("quant", "bytes", "sha256")
    listed = manifest["results"]["models"]
    return [ModelFile(path=folder / said["path"], **{name: said[name] for name in names}) for said in listed]


def export_card(checkpoint: Checkpoint, models: Sequence[ModelFile], folder: Path) -> Card:
    """Return the card of what an exporter just made: the one that it wrote itself, else that of the checkpoint."""
    path = folder / CARD_FILE
    card = read_card(path) if path.is_file() else card_of(checkpoint)
    return with_results(card, models, chosen=preferred_file(models, folder))
