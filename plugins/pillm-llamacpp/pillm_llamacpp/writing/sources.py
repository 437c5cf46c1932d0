"""Where a model's parts lie: in one folder, or, for an adapter, in its own, its trainer's and its base's."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import pillm
from pillm_llamacpp.workers.client import error_of
from pillm_llamacpp.workers.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

_BASE_FILE = "base.json"
"""Where pillm's trainers write which weights an adapter was trained on."""
_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt",
)  # fmt: skip
_TEMPLATES = ("chat_template.jinja", "chat_template.json")
_RECORDS = ("contract.json", "probes.jsonl", "calibration.jsonl", "lineage.json")


class Laid(NamedTuple):
    """A model as the exporter reads it."""

    checkpoint: pillm.Checkpoint
    """A folder that holds everything, the base's weights too; for an adapter made of links."""
    adapter: Path | None = None
    folders: tuple[Path, ...] = ()
    """Where it all comes from."""


@contextmanager
def laid_out(checkpoint: pillm.Checkpoint, base: str | None) -> Iterator[Laid]:
    """Give a model's parts in one folder for as long as the context lasts.

    `base` is an adapter's base, a folder or a name that a plugin knows; none: what its settings name. Raises DataError
    where the adapter is not of a kind that is merged here, or its base is not found or is not the one it was trained
    on, ConfigError where a base is given to a whole model, MissingDependency where peft is not installed.
    """
    from pillm_llamacpp.writing import adapter

    folder = checkpoint.path
    if not adapter.is_adapter(folder):
        if base is not None:
            raise pillm.ConfigError(f"{folder} is a whole model, so it has no `base`; that option is for an adapter's folder.")
        yield Laid(checkpoint, None, (folder,))
        return
    if find_spec("peft") is None:
        raise pillm.MissingDependency(
            "peft, which the merged file is compared with, is not installed. Nothing was written. Get it with: pip install peft"
        )
    try:
        adapter.read(folder)
    except Refusal as refusal:
        raise error_of(refusal.kind, str(refusal)) from refusal
    weights = base_of(checkpoint, base)
    _require_weights(folder, weights)
    with TemporaryDirectory(prefix="pillm-") as place:
        whole = Path(place) / checkpoint.label
        _link(folder, weights, whole)
        yield Laid(pillm.Checkpoint(path=whole, name=checkpoint.label), folder.resolve(), (*_near(folder), weights))


def parents(checkpoint: pillm.Checkpoint, base: str | None) -> dict[str, str]:
    """Return the hash of the weights that an adapter changes; nothing for a whole model."""
    from pillm_llamacpp.writing.adapter import is_adapter

    return {"base": _weights_hash(base_of(checkpoint, base))} if is_adapter(checkpoint.path) else {}


def base_of(checkpoint: pillm.Checkpoint, named: str | None) -> Path:
    """Return the folder of the model that an adapter was trained on; raise DataError where it is not on this machine."""
    from pillm_llamacpp.writing.adapter import CONFIG, settings_of

    try:
        settings = {} if named else settings_of(checkpoint.path)
    except Refusal as refusal:
        raise error_of(refusal.kind, str(refusal)) from refusal
    told, revision = named or settings.get("base_model_name_or_path"), settings.get("revision")
    found = pillm.model_folder(str(told)) if told else None
    if told and found is None:
        with suppress(pillm.DataError):  # what is no model anywhere is said below
            found = _fetched(str(told), revision)
    if found is None or not (found / "config.json").is_file():
        who = "the option `base`" if named else f"{checkpoint.path / CONFIG}"
        raise pillm.DataError(
            f"{who} names {told!r} as the adapter's base, and that is neither a model's folder here, nor a model that an "
            "installed plugin ships, nor one of a hub. Nothing was written. Give the folder of the model that it was trained "
            "on: -o base=FOLDER"
        )
    return found.resolve()


def _fetched(name: str, revision: str | None) -> Path:
    """Return the folder of a hub's model; raise Unavailable with the way round where it cannot be had."""
    try:
        return pillm.fetch_model(name, revision).path
    except pillm.Unavailable as error:
        raise pillm.Unavailable(f"{error} Or give the folder of the adapter's base: -o base=FOLDER") from error


def _require_weights(folder: Path, base: Path) -> None:
    path = folder / _BASE_FILE
    if not path.is_file():
        return
    try:
        said = json.loads(path.read_text("utf-8"))
        name, wanted = str(said["base"]), str(said["weights_sha256"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise pillm.DataError(f"{path} cannot be read ({error}). Mend it, or remove it to use the adapter unproved.") from error
    if _weights_hash(base) != wanted:
        raise pillm.DataError(
            f"{folder} was trained on {name}, and {base} has other weights; nothing was written. Name the right one: "
            f"-o base=FOLDER. If it is the same model, only saved otherwise, remove {path.name}."
        )


def _weights_hash(folder: Path) -> str:
    """Return the hash that pillm's trainers write down beside an adapter."""
    listing = {path.name: _hash_at(path, path.stat().st_size, path.stat().st_mtime_ns) for path in _weights(folder)}
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


@lru_cache(maxsize=64)
def _hash_at(path: Path, size: int, changed: int) -> str:
    del size, changed  # another size or time is another entry
    return pillm.sha256_file(path)


def _link(folder: Path, base: Path, whole: Path) -> None:
    """Lay out a folder of links: the base's weights, and each other file from where it is nearest to the training."""
    near = _near(folder)
    whole.mkdir()
    chosen = {path.name: path for path in base.glob("model*.safetensors*")}
    speaks = next((place for place in [*near, base] if _has(place, _TOKENIZER[:1] + _TOKENIZER[2:3])), base)
    chosen |= _from([speaks], _TOKENIZER)
    places = [speaks, *near, base]
    template = next((place for place in places if _has(place, _TEMPLATES)), base)
    chosen |= _from([template], _TEMPLATES) | _from(places, ("generation_config.json",))
    chosen |= _from([*near[1:], base], ("config.json",)) | _from(near, _RECORDS)
    for name, path in chosen.items():
        (whole / name).symlink_to(path)


def _near(folder: Path) -> list[Path]:
    """Return an adapter's folder and, where a trainer of pillm left it there, that of the student it was merged into."""
    trained = folder.resolve().parent
    return [folder.resolve(), *([trained] if (trained / "contract.json").is_file() else [])]


def _has(place: Path, names: tuple[str, ...]) -> bool:
    return any((place / name).is_file() for name in names)


def _from(places: list[Path], names: tuple[str, ...]) -> dict[str, Path]:
    """Return each named file where it is found first."""
    return {name: place / name for name in names for place in reversed(places) if (place / name).is_file()}
