"""pillm's side of the writer: a worker process makes the files, and here each gets its name when it is whole."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pillm
from pillm_llamacpp.quantizing.quantization import full
from pillm_llamacpp.workers.client import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pillm_llamacpp.workers.pipe import Packet


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """What the worker is told."""

    tree: str
    """The pinned source: its gguf-py names tensors and keys."""
    texts: str
    """The folder with config.json and the tokenizer."""
    weights: str
    """The folder with the *.safetensors."""
    adapter: str | None = None
    """The folder with a LoRA or DoRA adapter that is merged in."""
    vocabulary: str | None = None
    """A GGUF without weights that the converter made of `texts`; its metadata are taken over."""
    pre: str | None = None
    derived: str | None = None
    stops: tuple[str, ...] = ()
    keys: Mapping[str, str | int | list[str]] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    threads: int = 1
    alone: bool = False
    """Whether the file holds the adapter and nothing of its base."""


class Uncovered(Exception):
    """What the writer cannot do alone: `what` is `uncovered` (the model) or `vocabulary` (its metadata)."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(why)
        self.what = what


def write(writing: Writing, outputs: Mapping[str, Path], progress: pillm.Progress) -> None:
    """Write a model as each of the storage types F32, F16, BF16 and Q8_0 that is asked for, whole or not at all.

    Nothing is flushed to the disk: `publish` does that for what is to last. Raises Uncovered where the converter must
    do it, DataError where the folder or its adapter is damaged, StorageError where the disk is full.
    """
    parts = {kind: path.with_name(path.name + ".part") for kind, path in outputs.items()}
    first = next(iter(outputs.values()))
    try:
        with ExitStack() as stack:
            worker = stack.enter_context(Worker(f"writing {first.name}"))
            worker.send({"op": "write", **asdict(writing), "outputs": [[str(path), kind] for kind, path in parts.items()]})
            _follow(worker, worker.receive(), first, progress)
        for kind, path in outputs.items():
            parts[kind].replace(path)
    except pillm.StorageError as error:
        raise full(first, str(error)) from error
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def _follow(worker: Worker, message: Packet, first: Path, progress: pillm.Progress) -> None:
    """Report progress until the worker is done."""
    done = 0
    while "done" not in message:
        if "lacks" in message:
            raise Uncovered(message["lacks"], message["why"])
        if not done:
            progress.start(message["total"], unit="bytes", message=f"writing {first.name}")
        progress.advance(message["progress"] - done)
        done = message["progress"]
        message = worker.receive()
