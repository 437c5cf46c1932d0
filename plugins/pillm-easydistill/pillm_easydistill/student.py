"""The student as pillm-hf knows it: its base, its rows as token ids, and the checkpoint that is published.

Everything that comes from pillm-hf comes through this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from pillm_hf import (
    SAMPLES,
    Chat,
    Encoded,
    adapter_of,
    describe,
    encode,
    find_here,
    load_chat,
    load_model,
    locate,
    outputs,
    prompts,
    prompts_of,
    require_model,
    rounded,
)

import pillm

_NO_LIMIT = 1 << 30


def identity(base: str, revision: str | None) -> str:
    """Return what names the base's content."""
    return locate(base, revision).identity


def require(base: str, revision: str | None) -> None:
    """Raise where there is no such base; nothing is downloaded."""
    require_model(base, revision)


def untrained(base: str, revision: str | None, *, fetch: bool) -> pillm.Checkpoint | None:
    """Return the base as a checkpoint; without `fetch` None where it is not on this machine."""
    source = locate(base, revision) if fetch else find_here(base, revision)
    return source.checkpoint() if source else None


def described(base: str, revision: str | None) -> pillm.Checkpoint:
    """Return the base's folder with its config.json at least, which alone is fetched where the base is not here."""
    return describe(base, revision).checkpoint()


def check_lengths(
    base: str, revision: str | None, asked: Sequence[pillm.Prompt], contract: pillm.Contract, max_length: int
) -> None:
    """Raise ConfigError where most prompts are too long; say nothing where the base is not on this machine."""
    source = find_here(base, revision)
    if source is not None:
        prompts.check_lengths(asked, contract, source.fetch(), max_length)


@dataclass(frozen=True, slots=True)
class Base:
    """The base: its folder, its tokenizer with the chat template, and what names its content."""

    folder: Path
    chat: Chat
    identity: str

    @classmethod
    def open(cls, base: str, revision: str | None) -> Base:
        """Fetch the base and load its tokenizer; raise DataError where it is an adapter without weights of its own."""
        source = locate(base, revision)
        folder = source.fetch()
        if adapter_of(folder) is not None:
            raise pillm.DataError(f"{folder} is an adapter, and EasyDistill trains whole models. Merge it into its base first.")
        return cls(folder, load_chat(folder), source.identity)


@dataclass(frozen=True, slots=True)
class Lesson:
    """One row as it is learnt: `ids[start:end]` are the answer; `asked` and `said` are the same as text."""

    row: Encoded
    asked: str
    said: str


def lessons(
    data: pillm.TrainingData, chat: Chat, max_length: int, progress: pillm.Progress
) -> tuple[list[Lesson], dict[str, int]]:
    """Return the rows that can be learnt, and how many cannot be, by reason; those are told.

    Raises DataError where none is left.
    """
    encoding = encode(data.train, data.contract, chat, max_length)
    for reason, count in encoding.left_out.items():
        progress.warn(f"{count} of {len(data.train)} training rows left out: {reason}.")
    if not encoding.rows:
        reasons = "; ".join(f"{count} rows: {reason}" for reason, count in encoding.left_out.items()) or "there are no rows"
        raise pillm.DataError(f"no row is left to train on ({reasons}). Raise max_length or mend the rows.")
    return [_lesson(row, chat) for row in encoding.rows], dict(encoding.left_out)


def _lesson(row: Encoded, chat: Chat) -> Lesson:
    asked = chat.prompt(row.messages[:-1], row.tools)
    if not row.text.startswith(asked):  # the template rewrites earlier turns; its marks tell where the answer begins
        asked = chat.marked_prompt(row.messages, row.tools) or ""
    return Lesson(row, asked, row.text[len(asked) :])


def write_papers(taught: Iterable[Lesson], data: pillm.TrainingData, chat: Chat, out: Path, progress: pillm.Progress) -> None:
    """Write contract.json, probes.jsonl and calibration.jsonl."""
    outputs.write_contract(data.contract, chat, out)
    watched = encode(data.validation, data.contract, chat, _NO_LIMIT).rows
    asked = prompts_of(data.probes, data.contract, chat, progress.warn)
    learnt = [lesson.row for lesson in taught]
    outputs.write_probes(chain(learnt, watched, asked), out)
    outputs.write_calibration(encode(data.calibration, data.contract, chat, _NO_LIMIT).rows, watched, learnt, out)


def load_teacher(folder: Path) -> Any:
    """Load the model that shows its distributions, where torch puts models by default."""
    return load_model(folder, "auto")


def publish(trained: Path, base: Base, taught: Sequence[Lesson], save_dtype: str, out: Path) -> None:
    """Write a verified model folder to `out` as the student: in 16 bit, with the base's tokenizer byte for byte.

    Raises DataError where weights are missing and BackendError where rounding changes the answers.
    """
    import torch

    model = load_model(trained, torch.float32, device_map="cpu")
    samples = [lesson.row for lesson in taught[:SAMPLES]]
    dtype = getattr(torch, _stored(save_dtype, base.folder))
    outputs.save_student(rounded(model, dtype, trained, samples, base.chat.pad_id), base.chat, out)


def _stored(asked: str, folder: Path) -> Literal["bfloat16", "float16"]:
    """Return the student's 16-bit format: a base stored in 32 bit becomes bfloat16, which has its range."""
    config = pillm.Checkpoint(path=folder).config
    half = "float16" in (config.get("dtype"), config.get("torch_dtype"))
    return "float16" if asked == "float16" or (asked == "auto" and half) else "bfloat16"
