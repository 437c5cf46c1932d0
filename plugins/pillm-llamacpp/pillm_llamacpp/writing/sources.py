"""Where a model's parts lie: in one folder, or, for an adapter, in its own, its trainer's and its base's."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import pillm
from pillm_llamacpp.workers.client import error_of
from pillm_llamacpp.workers.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pillm_llamacpp.writing.adapter import Adapter

CONFIG = "adapter_config.json"
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
    base: Path | None = None
    """Where the weights that an adapter changes are."""
    notes: tuple[str, ...] = ()
    """What is worth knowing of the folders that it all comes from."""
    links: Mapping[Path, Path] = MappingProxyType({})
    """Where the files of the folder of links are, the last of them the folder itself."""

    def told(self, text: str) -> str:
        """Return a text with the paths that a person knows, in place of those of the links."""
        for link, path in self.links.items():
            text = text.replace(str(link), str(path))
        return text


@contextmanager
def laid_out(checkpoint: pillm.Checkpoint, base: str | None) -> Iterator[Laid]:
    """Give a model's parts in one folder for as long as the context lasts; each folder is looked at before it is read.

    `base` is an adapter's base, a folder or a name that a plugin knows; none: what its settings name. Raises DataError
    where the adapter is not of a kind that is merged here, or its base is not found, is not the one it was trained
    on or does not fit it, ConfigError where a base is given to a whole model, MissingDependency where peft is not
    installed, and what `pillm.check_model_folder` raises. Errors within the context name the files that the links lead to.
    """
    from pillm_llamacpp.writing import adapter

    folder = checkpoint.path
    if not adapter.is_adapter(folder):
        if base is not None:
            raise pillm.ConfigError(f"{folder} is a whole model, so it has no `base`; that option is for an adapter's folder.")
        yield Laid(checkpoint, notes=_looked_at(folder))
        return
    if find_spec("peft") is None:
        raise pillm.MissingDependency(
            "peft, which the merged file is compared with, is not installed. Nothing was written. Get it with: pip install peft"
        )
    pairs = adapter_of(folder).pairs
    weights = base_of(checkpoint, base)
    notes = _looked_at(*_near(folder)[1:], weights)
    _require_weights(folder, weights)
    told = {name: tensor.shape for name, tensor in pillm.stored_tensors(weights).items()}
    try:
        adapter.require_fit(pairs, told, folder)
    except Refusal as refusal:
        raise error_of(refusal.kind, str(refusal)) from refusal
    with TemporaryDirectory(prefix="pillm-") as place:
        whole = Path(place).resolve() / checkpoint.label
        links = {**_link(folder, weights, whole), whole: folder}
        made = pillm.Checkpoint(path=whole, name=checkpoint.label)
        laid = Laid(made, folder.resolve(), weights, (*_looked_at(folder), *notes), links)
        try:
            yield laid
        except pillm.PillmError as error:
            error.args = tuple(laid.told(str(one)) for one in error.args)
            raise


def _looked_at(*folders: Path) -> tuple[str, ...]:
    """Have folders checked before anything of them is read; return what is worth knowing."""
    return tuple(f"{folder.name}: {note}" for folder in folders for note in pillm.check_model_folder(folder))


def adapter_of(folder: Path) -> Adapter:
    """Return the adapter of a folder, which is looked at first; raise DataError where it is damaged or of a strange kind."""
    from pillm_llamacpp.writing import adapter

    _looked_at(folder)
    try:
        return adapter.read(folder)
    except Refusal as refusal:
        raise error_of(refusal.kind, str(refusal)) from refusal


def parents(checkpoint: pillm.Checkpoint, base: str | None) -> dict[str, str]:
    """Return the hash of the weights that an adapter changes; nothing for a whole model."""
    from pillm_llamacpp.writing.adapter import is_adapter

    if not is_adapter(checkpoint.path):
        return {}
    _looked_at(checkpoint.path)
    return {"base": _weights_hash(base_of(checkpoint, base))}


def base_of(checkpoint: pillm.Checkpoint, named: str | None) -> Path:
    """Return the folder of the model that an adapter was trained on, fetched where it is a hub's; raise DataError without one.

    `named` is what a person says that it is, a folder or a name.
    """
    told, revision = (named, None) if named else pillm.named_base(checkpoint.path)
    found = pillm.model_folder(told)
    if found is None:
        with suppress(pillm.DataError):  # what is no model anywhere is said below
            found = _fetched(told, revision)
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


def _link(folder: Path, base: Path, whole: Path) -> dict[Path, Path]:
    """Lay out a folder of links: the base's weights, and each other file from where it is nearest to the training.

    Returns where each link leads.
    """
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
    return {whole / name: path for name, path in sorted(chosen.items(), key=lambda item: -len(item[0]))}


def _near(folder: Path) -> list[Path]:
    """Return an adapter's folder and, where a trainer of pillm left it there, that of the student it was merged into."""
    trained = folder.resolve().parent
    return [folder.resolve(), *([trained] if (trained / "contract.json").is_file() else [])]


def _has(place: Path, names: tuple[str, ...]) -> bool:
    return any((place / name).is_file() for name in names)


def _from(places: list[Path], names: tuple[str, ...]) -> dict[str, Path]:
    """Return each named file where it is found first."""
    return {name: place / name for name in names for place in reversed(places) if (place / name).is_file()}
