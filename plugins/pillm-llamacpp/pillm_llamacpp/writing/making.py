"""Make a file in full precision: by the writer where it covers the model, else by the converter; the gates are the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pillm
from pillm_llamacpp.converting import conversion
from pillm_llamacpp.writing.writer import Uncovered, Writing, write

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def make(
    how: str, told: conversion.Conversion, probes: Iterable[pillm.Message], outputs: Mapping[str, Path], *,
    threads: int, progress: pillm.Progress,
) -> conversion.Converted:  # fmt: skip
    """Make the files `outputs` (one for each storage type) where the writer does, else the conversion's own one alone.

    Returns what tokenizer and model themselves made of the probes. Raises DataError where the writer was asked for and
    does not cover the model, or where an adapter lies on a model that only the converter knows.
    """
    work = Path(told.outfile).parent
    if how != "converter":
        writing = Writing(
            tree=told.tree, texts=told.model, weights=told.model, adapter=None if told.apart else told.adapter, pre=told.pre,
            derived=told.derived, stops=told.stops, keys=told.keys, metadata=told.metadata, threads=threads,
        )  # fmt: skip
        try:
            return _written(writing, told, probes, outputs, progress)
        except Uncovered as missing:
            if how == "own":
                raise pillm.DataError(f"{told.model} cannot be written here: {missing}. Choose -o writer=auto.") from missing
            reason = str(missing)
        progress.note(f"the converter writes this model: {reason}.")
    else:
        reason = "writer=converter"
    if told.adapter and not told.apart:
        raise pillm.DataError(
            f"{told.adapter} lies on a model that only the converter writes ({reason}), and it merges no adapter. Nothing was "
            "written. Merge it with the program that trained it (peft's merge_and_unload), and export the folder that it makes."
        )
    return conversion.run(told, probes, work, progress)


def _written(
    writing: Writing, told: conversion.Conversion, probes: Iterable[pillm.Message], outputs: Mapping[str, Path],
    progress: pillm.Progress,
) -> conversion.Converted:  # fmt: skip
    work = Path(told.outfile).parent
    marks = work / "written.json"
    if _stand(outputs, _marked(marks)):
        progress.note("the files in full precision stand; what was interrupted goes on from there.")
        return conversion.run(replace(told, written=True), probes, work, progress)
    try:
        write(writing, outputs, progress)
    except Uncovered as missing:
        if missing.what != "vocabulary":
            raise
        keys = work / "keys.gguf"
        made = conversion.run(replace(told, outfile=str(keys), vocab_only=True), probes, work, progress)
        write(replace(writing, vocabulary=str(keys)), outputs, progress)
        keys.unlink()
        marks.write_text(json.dumps(_states(outputs)), "utf-8")
        return made
    marks.write_text(json.dumps(_states(outputs)), "utf-8")
    return conversion.run(replace(told, written=True), probes, work, progress)


def _states(outputs: Mapping[str, Path]) -> dict[str, list[int]]:
    """Return size and time of each file."""
    return {kind: [path.stat().st_size, path.stat().st_mtime_ns] for kind, path in outputs.items()}


def _stand(outputs: Mapping[str, Path], marked: Mapping[str, list[int]]) -> bool:
    """Say whether each file is there as it was marked."""
    return all(path.is_file() and _states({kind: path})[kind] == marked.get(kind) for kind, path in outputs.items())


def _marked(path: Path) -> dict[str, list[int]]:
    """Return what was written whole before; the converter's own file, which a kill can leave half, is never among it."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
