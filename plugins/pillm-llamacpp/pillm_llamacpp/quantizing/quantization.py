"""Quantise a model file in a worker process, and say what the quantisation truly holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pillm
from pillm_llamacpp.quantizing.quants import FTYPES
from pillm_llamacpp.workers.client import Worker

Accept: TypeAlias = Callable[[Path, list[list[str]]], None]


def quantize(
    source: Path, target: Path, quant: str, *, threads: int, progress: pillm.Progress, accept: Accept | None = None
) -> dict[str, int]:
    """Write `target` as a quantisation of `source`, whole or not at all; return how many tensors have each storage type.

    `accept` gets the complete file before it has its name, and the tensors that were stored otherwise because their rows
    do not fit the blocks, as (name, row length, type); what it raises is raised, and no file is left.
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
        if accept:
            accept(part, message["fallbacks"])
        publish(part, target)
    except pillm.StorageError as error:
        raise full(target, str(error)) from error
    finally:
        part.unlink(missing_ok=True)
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


def types_of(path: Path) -> dict[str, int]:
    """Return how many tensors of a GGUF file have each storage type."""
    with Worker(f"reading {path.name}") as worker:
        return _types(worker, path)


def _types(worker: Worker, path: Path) -> dict[str, int]:
    return dict(worker.ask(op="types", path=str(path))["types"])
