"""An adapter as a file of its own, which llama.cpp puts on its base when it loads (`--lora`)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pillm
from pillm_llamacpp import source
from pillm_llamacpp.gates.finite import check_finite
from pillm_llamacpp.quantizing.quantization import full, publish, types_of
from pillm_llamacpp.quantizing.quants import DIRECT
from pillm_llamacpp.workers.client import Worker
from pillm_llamacpp.writing.writer import Uncovered, Writing, write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pillm_llamacpp.writing.sources import Laid


def alone(
    laid: Laid,
    quants: Sequence[str],
    target: Path,
    progress: pillm.Progress,
    *,
    keys: Mapping[str, str | int | list[str]],
    threads: int,
) -> Iterator[pillm.ModelFile]:
    """Write `target`-lora-QUANT.gguf for each storage type and yield it.

    Raises ConfigError for a model that is no adapter or a type that adapters are not stored as, DataError for an
    adapter that such a file cannot hold, StorageError where the disk is full.
    """
    if laid.adapter is None:
        raise pillm.ConfigError(f"{laid.checkpoint.path} is a whole model, not an adapter's folder; leave out `adapter`.")
    if strange := [quant for quant in quants if quant not in DIRECT]:
        raise pillm.ConfigError(f"an adapter alone is not stored as {strange[0]}. Ask for one of {', '.join(DIRECT)}.")
    folder = str(laid.checkpoint.path)
    writing = Writing(
        tree=str(source.require()), texts=folder, weights=folder, adapter=str(laid.adapter), keys=keys, threads=threads,
        alone=True,
    )  # fmt: skip
    outputs = {quant: target.with_name(f"{target.name}-lora-{quant}.gguf") for quant in quants}
    parts = {quant: path.with_name(path.name + ".whole.part") for quant, path in outputs.items()}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write(writing, parts, progress)
        for quant, path in outputs.items():
            with Worker(f"the check of {path.name}'s weights") as worker:
                check_finite(worker, parts[quant])
            types = types_of(parts[quant])
            publish(parts[quant], path)
            yield pillm.ModelFile.of(path, quant, types=types)
    except Uncovered as missing:
        raise pillm.DataError(
            f"{laid.adapter} cannot be written alone: {missing}. Leave out `adapter` to merge it."
        ) from missing
    except OSError as error:
        raise full(target, os.strerror(error.errno or 0)) from error
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
