"""The importance matrix: how much each input column of a weight matters, gathered from conversations and kept as GGUF."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

import pillm
from pillm_llamacpp.workers.client import Worker

if TYPE_CHECKING:
    from collections.abc import Sequence

Array: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"

SUMS, COUNTS = ".in_sum2", ".counts"
_MOST_BYTES = 1 << 30
_MOST_TEXT = 127


@dataclass(frozen=True, slots=True)
class Imatrix:
    """For each weight the sums of squares of its input columns, and over how many rows they were summed."""

    tensors: dict[str, Array]
    """(columns,), or (experts, columns) where a weight has one matrix per expert."""
    counts: dict[str, Array]
    """(1,) or (experts,)."""
    chunks: int
    datasets: tuple[str, ...]
    chunk_size: int = 512

    def means(self, name: str) -> Array:
        """Return the mean squares of a weight's columns, flat, as llama.cpp's quantiser takes them; unseen experts get 1."""
        sums = self.tensors[name].reshape(len(self.counts[name]), -1)
        counts = self.counts[name][:, None]
        return np.where(counts > 0, sums / np.maximum(counts, 1), 1).astype(np.float32).reshape(-1)

    def keys(self) -> dict[str, int | str]:
        """Return what a file that was made with it says of it, by the keys that llama-quantize writes."""
        told = ", ".join(self.datasets).encode("ascii", "replace")[:_MOST_TEXT].decode("ascii")
        return {
            "quantize.imatrix.dataset": told or "unnamed",
            "quantize.imatrix.entries_count": len(self.tensors),
            "quantize.imatrix.chunks_count": self.chunks,
        }


def gather(
    model: Path, texts: Sequence[str], *, threads: int, context: int = 512, progress: pillm.Progress,
    head: bool = False, datasets: Sequence[str] = (),
) -> Imatrix:  # fmt: skip
    """Read conversations with an F16 or F32 file and return its importance matrix.

    Each text is read by itself, special tokens parsed, in pieces of `context` tokens. As with llama-imatrix the layers'
    weights are in it and the output head only with `head` (its --process-output); a tied head goes by the embedding's
    name. Raises DataError where there is no text or the model cannot be read, BackendError where llama.cpp gives up.
    """
    if not texts:
        raise pillm.DataError(f"{model.name}: an importance matrix needs texts, and there are none.")
    with TemporaryDirectory(prefix="pillm-") as folder, Worker(f"the importance matrix of {model.name}") as worker:
        path = Path(folder) / "imatrix.gguf"
        worker.send({
            "op": "collect", "model": str(model), "texts": list(texts), "threads": threads, "context": context, "head": head,
            "datasets": list(datasets), "out": str(path),
        })  # fmt: skip
        follow(worker, progress, f"computing the importance matrix of {model.name} on {len(texts)} conversations")
        return read(path, own=True)


def follow(worker: Worker, progress: pillm.Progress, what: str) -> dict[str, Any]:
    """Show how many tokens a worker has read, and return its last message."""
    message = worker.receive()
    progress.start(message.get("total"), unit="tokens", message=what)
    while "done" not in message:
        message = worker.receive()
        if "read" in message:
            progress.advance(message["read"])
    return message


def write(imatrix: Imatrix, path: Path) -> None:
    """Write an importance matrix in llama.cpp's GGUF format; raise StorageError where the disk is full."""
    from gguf import GGUFWriter

    part = path.with_name(path.name + ".part")
    try:
        writer = GGUFWriter(part, "")  # llama-imatrix names no architecture either
        writer.add_type("imatrix")
        writer.add_array("imatrix.datasets", list(imatrix.datasets) or ["unnamed"])
        writer.add_uint32("imatrix.chunk_count", imatrix.chunks)
        writer.add_uint32("imatrix.chunk_size", imatrix.chunk_size)
        for name in sorted(imatrix.tensors):
            counts = imatrix.counts[name].astype(np.float32).reshape(-1, 1)
            writer.add_tensor(name + SUMS, imatrix.tensors[name].astype(np.float32).reshape(len(counts), -1))
            writer.add_tensor(name + COUNTS, counts)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        pillm.fsync_file(part)
        part.replace(path)
    except OSError as error:
        raise pillm.StorageError(
            f"{path} could not be written: {error.strerror or error}. Nothing half-written was left under that name; "
            "free some space and run the same command again."
        ) from error
    finally:
        part.unlink(missing_ok=True)


def read(path: Path, *, own: bool = False) -> Imatrix:
    """Read an importance matrix in llama.cpp's GGUF format, ours or llama-imatrix's.

    One that is not our `own` is looked at before it is opened. Raises DataError where it is none, UnsafeError where it
    contradicts itself.
    """
    if not own:
        pillm.check_model_file(path)
        if path.stat().st_size > _MOST_BYTES:
            raise pillm.DataError(f"{path} is too large for an importance matrix ({path.stat().st_size / 2**30:.1f} GiB).")
    try:
        return _read(path)
    except OSError as error:
        raise pillm.DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise pillm.DataError(
            f"{path} is not an importance matrix in llama.cpp's GGUF format ({error}). Make one with llama-imatrix "
            "(--output-format gguf), or leave the option imatrix at auto."
        ) from error


def _read(path: Path) -> Imatrix:
    from gguf import GGUFReader

    reader = GGUFReader(os.fspath(path))
    said = {name: field.contents() for name, field in reader.fields.items() if name.startswith(("general.", "imatrix."))}
    if said.get("general.type") != "imatrix":
        raise ValueError("its general.type is not imatrix")
    # copies: the arrays of a mapped file would end with it
    data = {tensor.name: np.array(tensor.data, np.float32) for tensor in reader.tensors}
    sums = {name.removesuffix(SUMS): value for name, value in data.items() if name.endswith(SUMS)}
    counts = {name: data[name + COUNTS].reshape(-1) for name in sums}
    for name, value in sums.items():
        if not (counts[name].size and value.size and value.size % counts[name].size == 0):
            raise ValueError(f"the sums and counts of {name} do not fit")
        if not (np.isfinite(value).all() and np.isfinite(counts[name]).all() and (value >= 0).all()):
            raise ValueError(f"the sums of {name} are not finite and positive")
    if not sums:
        raise ValueError("it has no sums")
    shaped = {name: value.reshape(-1) if counts[name].size == 1 else value.reshape(counts[name].size, -1)
              for name, value in sums.items()}  # fmt: skip
    return Imatrix(
        tensors=shaped, counts=counts, chunks=int(said["imatrix.chunk_count"]), datasets=tuple(said["imatrix.datasets"]),
        chunk_size=int(said.get("imatrix.chunk_size", 512)),
    )  # fmt: skip
