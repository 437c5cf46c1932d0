"""Look at one file from outside, whatever its kind, and at a model folder as a whole. Runs in the limited child."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from pillm.intake.configfiles import (
    check_config,
    check_template_size,
    check_tokenizer_config,
    refuse_own_code,
    shards_of,
    templates_of,
    trained_template,
)
from pillm.intake.faults import Fault, shown
from pillm.intake.gguf import read_head
from pillm.intake.ggufmeaning import check_meaning, parts_of
from pillm.intake.ggufmeaning import templates_of as gguf_templates
from pillm.intake.jsonfiles import read_json
from pillm.intake.tensorfile import Placed, read_tensors
from pillm.intake.tokenizerfile import check_tokenizer

MAX_ENTRIES: Final = 10_000
MAX_JSON: Final = 128 * 1024 * 1024
MAX_TEXT: Final = 64 * 1024 * 1024
INDEX = ".safetensors.index.json"
DOCUMENTS = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "generation_config.json", "adapter_config.json", "chat_template.json", "processor_config.json", "preprocessor_config.json",
    "vocab.txt", "merges.txt", "contract.json", "base.json",
)  # fmt: skip
ENDINGS = (".safetensors", INDEX, ".jinja", ".model")
"""What libraries, and pillm itself, open of a model folder: these names and these endings."""
INSIDE = ("adapter", "additional_chat_templates")
"""The folders within a model folder that libraries look into."""
_EMBEDDINGS = ("embed_tokens.weight", "word_embeddings.weight", "wte.weight", "embed_in.weight")


def is_read(name: str) -> bool:
    """Return whether libraries, or pillm itself, open a file of that name."""
    return name in DOCUMENTS or name.endswith(ENDINGS)


class Found(NamedTuple):
    """What a look brought: notes for a person, and the chat templates, which are tried apart."""

    notes: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()


def open_regular(path: Path) -> IO[bytes]:
    """Open a file for reading; raise Fault for a pipe, a device or a folder, without waiting for it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Fault(f"it cannot be read: {error.strerror}", broken=True) from None
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise Fault("it is not a file" + ("" if stat.S_ISDIR(mode) else " but a pipe or a device"), broken=stat.S_ISDIR(mode))
    return os.fdopen(handle, "rb")


def look_at_file(path: Path) -> Found:
    """Look at a file that is opened by itself; what it is goes by its name. Raises Fault."""
    name = path.name
    if name.endswith(".safetensors"):
        _tensors(path)
        return Found()
    if name.endswith((".json", ".jinja")):
        return Found(templates=tuple(_texts(path)))
    if is_read(name):
        _check_size(path)
        return Found()
    return _gguf(path)


def look_at_folder(folder: Path) -> Found:
    """Look at all that libraries open of a model folder, and at whether its parts agree. Raises Fault with the file's name."""
    templates: list[str] = []
    shapes: dict[str, tuple[int, ...]] = {}
    known: dict[str, Any] = {}
    tensors: dict[str, set[str]] = {}
    for path in files_of(folder):
        name = path.relative_to(folder).as_posix()
        with _named(name):
            if name.endswith(".safetensors"):
                found = _tensors(path)
                tensors[name] = set(found)
                if path.parent == folder:
                    shapes |= {tensor: one.shape for tensor, one in found.items()}
            elif name.endswith((".json", ".jinja")):
                templates += _texts(path, known, name)
            else:
                _check_size(path)
    _check_index(known, tensors)
    with _named("config.json"):
        notes = tuple(_check_embeddings(known, shapes))
    trained = known.get("contract.json")
    # Jinja renders no newline at the very end, and tools that save files add one
    if trained and templates and trained.removesuffix("\n") not in (text.removesuffix("\n") for text in templates):
        notes += ("its chat template is not the one that the student was trained with (contract.json)",)
    return Found(notes, tuple(dict.fromkeys(templates)))


def files_of(folder: Path, home: Path | None = None) -> Iterator[Path]:
    """Yield the files of a model folder that libraries open; raise Fault for what is there and is no file of the folder."""
    home = home or folder.resolve()
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names only: no object per file
    except OSError as error:
        raise Fault(f"it cannot be listed: {error.strerror}", broken=True) from None
    if len(names) > MAX_ENTRIES:
        raise Fault(f"it has {len(names)} entries, more than {MAX_ENTRIES}")
    for name in names:
        path = folder / name
        with _named(name):
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                mode = _followed(path, home)
            if stat.S_ISDIR(mode) and name in INSIDE:
                yield from files_of(path, home)
            elif not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise Fault("it is a pipe or a device")
            elif stat.S_ISREG(mode) and is_read(name):
                yield path


def _followed(path: Path, home: Path) -> int:
    """Return what a link leads to; raise Fault where that is neither of this folder, nor a file of another model's.

    People link the files of one model into another folder, and the hub's cache links every file to a blob.
    """
    target = path.resolve()
    if not is_read(path.name) and path.name not in INSIDE:
        return stat.S_IFDIR  # nobody reads it
    if home not in target.parents and target.parent.name != "blobs" and not is_read(target.name):
        raise Fault("it is a link that leads out of the folder, to what is no file of a model")
    try:
        return target.stat().st_mode
    except OSError as error:
        raise Fault(f"it is a link that leads nowhere ({error.strerror})", broken=True) from None


class _named:  # noqa: N801 - reads as a statement
    """Put a file's name on the faults of a block."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, Fault):
            error.name = f"{self._name}/{error.name}" if error.name and self._name in INSIDE else error.name or self._name


def _check_size(path: Path) -> None:
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
    if size > MAX_TEXT:
        raise Fault(f"it has {size} bytes, more than {MAX_TEXT}")


def _gguf(path: Path) -> Found:
    with open_regular(path) as file:
        head = read_head(file, os.fstat(file.fileno()).st_size)
    notes, templates = check_meaning(head), gguf_templates(head)
    for name in parts_of(head, path.name):
        with _named(name), open_regular(path.with_name(name)) as file:
            check_meaning(read_head(file, os.fstat(file.fileno()).st_size))
    return Found(notes, templates)


def _tensors(path: Path) -> dict[str, Placed]:
    with open_regular(path) as file:
        return read_tensors(file, os.fstat(file.fileno()).st_size)


def _texts(path: Path, known: dict[str, Any] | None = None, name: str = "") -> Iterator[str]:
    """Check a JSON file or a template; yield its chat templates, and note what the folder as a whole is asked about."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_JSON:
            raise Fault(f"it has {size} bytes, more than {MAX_JSON}")
        raw = file.read(MAX_JSON)
    if path.suffix == ".jinja":
        try:
            yield check_template_size(raw.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise Fault(f"it is not UTF-8 ({error.reason})", error.start, broken=True) from None
        return
    said = read_json(raw)
    kept = _CHECKS[path.name](said) if path.name in _CHECKS else shards_of(said) if path.name.endswith(INDEX) else None
    if path.name != "tokenizer.json":
        refuse_own_code(said)
    if known is not None:
        known[name] = kept
    if path.name in ("tokenizer_config.json", "chat_template.json"):
        yield from templates_of(said)


_CHECKS: Final[dict[str, Callable[[Any], Any]]] = {
    "tokenizer.json": check_tokenizer, "config.json": check_config, "tokenizer_config.json": check_tokenizer_config,
    "contract.json": trained_template,
}  # fmt: skip


def _check_index(known: dict[str, Any], tensors: dict[str, set[str]]) -> None:
    for name, shards in known.items():
        if not name.endswith(INDEX):
            continue
        for tensor, shard in shards.items():
            if tensor not in tensors.get(shard, ()):
                what = "does not hold it" if shard in tensors else "is not there"
                raise Fault(f"its weight_map says that {shown(tensor)} is in {shard}, which {what}", broken=True, name=name)


def _check_embeddings(known: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> Iterator[str]:
    """Hold the sizes that a configuration claims, which libraries make room for, against the weights that are there."""
    config = known.get("config.json") or {}
    config = {**config, **(config.get("text_config") or {})} if isinstance(config.get("text_config") or {}, dict) else config
    tables = [shape[0] for tensor, shape in shapes.items() if tensor.endswith(_EMBEDDINGS) and len(shape) == 2]
    if not tables:
        return
    rows = config.get("vocab_size")
    if type(rows) is int and rows not in tables:
        raise Fault(f"vocab_size is {rows}, and the weights have embeddings for {max(tables)} tokens", broken=True)
    tokens = known.get("tokenizer.json") or 0
    if tokens > max(tables):
        yield f"tokenizer.json has ids up to {tokens - 1}, and the weights have embeddings for {max(tables)} tokens"
