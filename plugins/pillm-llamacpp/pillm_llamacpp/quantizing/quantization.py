"""Quantise a model file in a worker process, and say what the quantisation truly holds."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pillm
from pillm_llamacpp.quantizing.fallbacks import Rule, judge
from pillm_llamacpp.quantizing.imatrix import write
from pillm_llamacpp.quantizing.quants import ALL_FTYPES
from pillm_llamacpp.workers.client import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pillm_llamacpp.quantizing.imatrix import Imatrix


def quantize(
    source: Path, target: Path, quant: str, *, threads: int, progress: pillm.Progress, imatrix: Imatrix | None = None,
    types: Mapping[str, str] | None = None, output_type: str | None = None, embedding_type: str | None = None,
    fallback: Rule = "warn",
) -> dict[str, int]:  # fmt: skip
    """Write `target` as a quantisation of `source`, whole or not at all; return how many tensors have each storage type.

    `imatrix` weighs the rounding. `types` maps patterns of tensor names to storage types, the first that is found in a
    name wins; `output_type` is the head's, tied or not, `embedding_type` the embedding's. `fallback` says what becomes of a
    file whose rows do not fit the blocks. Raises ConfigError for an unknown type or pattern, DataError where the source
    cannot be read, StorageError where the disk is full, BackendError where llama.cpp refuses or dies.
    """
    part = target.with_name(target.name + ".part")
    told = order(source, quant, threads=threads, types=types, output_type=output_type, embedding_type=embedding_type)
    try:
        with TemporaryDirectory(prefix="pillm-") as folder, Worker(f"quantising to {quant}") as worker:
            if imatrix is not None:
                weights = Path(folder) / "imatrix.gguf"
                write(imatrix, weights)
                told["imatrix"] = str(weights)
            worker.send({**told, "op": "quantize", "target": str(part)})
            message = worker.receive()
            progress.start(message.get("total"), unit="tensors", message=target.name)
            while "done" not in message:
                progress.advance(1)
                message = worker.receive()
            stored = _types(worker, part)
        judge(fallback, quant, message["fallbacks"], progress)
        publish(part, target)
    except pillm.StorageError as error:
        raise full(target, str(error)) from error
    finally:
        part.unlink(missing_ok=True)
    return stored


def order(
    source: Path,
    quant: str,
    *,
    threads: int,
    types: Mapping[str, str] | None,
    output_type: str | None,
    embedding_type: str | None,
) -> dict[str, Any]:
    """Return what a worker is told of a quantisation, without what to do; raise ConfigError where there is none of the name."""
    if quant not in ALL_FTYPES:
        raise pillm.ConfigError(f"{quant!r} is no quantisation of llama.cpp. Known: {', '.join(ALL_FTYPES)}.")
    return {
        "source": str(source), "ftype": ALL_FTYPES[quant], "threads": threads, "types": list((types or {}).items()),
        "output_type": output_type, "embedding_type": embedding_type,
    }  # fmt: skip


def publish(part: Path, target: Path) -> None:
    """Give a complete file its final name, so that it survives a power cut whole."""
    try:
        pillm.fsync_file(part)
        part.replace(target)
        pillm.fsync_folder(target.parent)
    except OSError as error:
        raise full(target, str(error)) from error


def full(target: Path, reason: str) -> pillm.StorageError:
    """Return the error of a file that could not be written."""
    return pillm.StorageError(
        f"{target} could not be written ({reason}). Most often the disk is full. Nothing half-written was left; "
        "free some space and run the same command again."
    )


def types_of(path: Path) -> dict[str, int]:
    """Return how many tensors of a GGUF file have each storage type."""
    with Worker(f"reading {path.name}") as worker:
        return _types(worker, path)


def _types(worker: Worker, path: Path) -> dict[str, int]:
    return dict(worker.ask(op="types", path=str(path))["types"])
