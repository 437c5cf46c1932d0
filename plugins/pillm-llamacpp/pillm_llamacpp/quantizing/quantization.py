"""Quantise a model file in a worker process, and say what the quantisation truly holds."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pillm
from pillm_llamacpp.quantizing.quants import FTYPES
from pillm_llamacpp.workers.client import Worker


def quantize(source: Path, target: Path, quant: str, *, threads: int, progress: pillm.Progress) -> dict[str, int]:
    """Write `target` as a quantisation of `source`, whole or not at all; return how many tensors have each storage type.

    Warns where rows do not fit the blocks.
    """
    part = target.with_name(target.name + ".part")
    try:
        with Worker(f"quantising to {quant}") as worker:
            worker.send({
                "op": "quantize", "source": str(source), "target": str(part), "ftype": FTYPES[quant], "threads": threads,
            })  # fmt: skip
            message = worker.receive()
            progress.start(message.get("total"), unit="tensors", message=target.name)
            while "done" not in message:
                progress.advance(1)
                message = worker.receive()
            types = _types(worker, part)
        publish(part, target)
    except pillm.StorageError as error:
        raise full(target, str(error)) from error
    finally:
        part.unlink(missing_ok=True)
    _warn(message["fallbacks"], quant, progress)
    return types


def publish(part: Path, target: Path) -> None:
    """Give a complete file its final name, so that it survives a power cut whole."""
    try:
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise full(target, str(error)) from error


def full(target: Path, reason: str) -> pillm.StorageError:
    """Return the error of a file that could not be written."""
    return pillm.StorageError(
        f"{target} could not be written ({reason}). Most often the disk is full. Nothing half-written was left; "
        "free some space and run the same command again."
    )


def _warn(fallbacks: list[list[str]], quant: str, progress: pillm.Progress) -> None:
    if not fallbacks:
        return
    width = fallbacks[0][1]
    became = ", ".join(f"{count} x {kind}" for kind, count in Counter(row[2] for row in fallbacks).items())
    better = "" if quant == "IQ4_NL" else " For a model of this width IQ4_NL is the better 4-bit type: its blocks fit."
    progress.warn(
        f"{quant}: {len(fallbacks)} tensors have rows that are not a multiple of 256 (first: {fallbacks[0][0]}, {width}) "
        f"and were stored as {became} instead.{better}"
    )


def types_of(path: Path) -> dict[str, int]:
    """Return how many tensors of a GGUF file have each storage type."""
    with Worker(f"reading {path.name}") as worker:
        return _types(worker, path)


def _types(worker: Worker, path: Path) -> dict[str, int]:
    return dict(worker.ask(op="types", path=str(path))["types"])
