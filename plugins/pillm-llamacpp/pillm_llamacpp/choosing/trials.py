"""Make a file in a mix of types and measure what it costs: bytes, memory, speed, divergence, and the task's score."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gguf import GGUFReader

import pillm
from pillm_llamacpp.choosing import polishing, scoring
from pillm_llamacpp.choosing.front import FULL, Trial
from pillm_llamacpp.choosing.moments import Moments
from pillm_llamacpp.measuring.divergence import Reference
from pillm_llamacpp.quantizing.quantization import quantize

if TYPE_CHECKING:
    from pillm_llamacpp.measuring.imatrix import Imatrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """What a file is made of: llama.cpp's quantisation, the types of tensors that differ from it, and how it is rounded."""

    name: str
    quant: str
    types: Mapping[str, str] = field(default_factory=dict)
    imatrix: bool = False
    rounded: bool = False


@dataclass(slots=True, kw_only=True)
class Bench:
    """The full file, what it is measured with, and the files that were made of it so far."""

    full: Path
    folder: Path
    device: str
    reference: Reference
    rows: list[pillm.Prompt]
    threads: int
    """To quantise with."""
    readers: int
    """Threads to read conversations and to answer with."""
    progress: pillm.Progress
    imatrix: Imatrix | None = None
    moments: Moments | None = None
    rounds: bool = True
    """Whether files that ask for it are rounded with the activations in mind."""
    skipped: frozenset[str] = frozenset()
    """Tensors that are not."""
    made: dict[str, Path] = field(default_factory=dict)

    def make(self, mix: Mix) -> Path:
        """Write the file of a mix, or return it where it stands already."""
        if mix.name in self.made:
            return self.made[mix.name]
        target = self.folder / f"{mix.name}.gguf"
        quantize(
            self.full, target, mix.quant, threads=self.threads, progress=self.quiet, types=patterns(mix.types),
            imatrix=self.imatrix if mix.imatrix else None,
        )  # fmt: skip
        if mix.rounded and self.rounds and self.moments is not None:
            polishing.polish(self.full, target, self.moments, self.skipped)
        self.made[mix.name] = target
        self.progress.advance(1)
        return target

    def drop(self, name: str) -> None:
        """Remove a file that was made."""
        path = self.made.pop(name, None)
        if path is not None:
            path.unlink(missing_ok=True)

    def divergence(self, mix: Mix) -> float:
        """Return the mean divergence of a mix, and keep no file of it."""
        try:
            return self.reference.against(self.make(mix), threads=self.readers, progress=self.quiet).mean
        finally:
            self.drop(mix.name)

    def tried(self, mix: Mix) -> Trial:
        """Return what a mix costs, its score apart."""
        path = self.make(mix)
        found = self.reference.against(path, threads=self.readers, progress=self.quiet)
        planned = pillm.plan(self.full, self.device, types=stored_types(path))
        return Trial(
            name=mix.name, quant=mix.quant, bytes=path.stat().st_size, ram=memory(planned), kld=found.mean, divergence=found,
            tg_tps=planned.tg_tps, pp_tps=planned.pp_tps, types=mix.types,
            imatrix=mix.imatrix and self.imatrix is not None, rounded=mix.rounded and self.rounds and self.moments is not None,
        )  # fmt: skip

    def whole(self) -> Trial:
        """Return what the full file costs: it is what all others are held against."""
        planned = pillm.plan(self.full, self.device)
        return self.scored(
            Trial(
                name=FULL, quant=FULL, bytes=planned.bytes, ram=memory(planned), kld=0.0, tg_tps=planned.tg_tps,
                pp_tps=planned.pp_tps,
            )
        )  # fmt: skip

    def scored(self, trial: Trial) -> Trial:
        """Return a trial with the task's score, where there are rows to score it with."""
        if not self.rows or trial.score is not None:
            return trial
        path = self.full if trial.name == FULL else self.made[trial.name]
        return replace(trial, score=scoring.score(path, self.rows, threads=self.readers))

    def keep(self, name: str, target: Path) -> None:
        """Put a file where it ships from."""
        if name == FULL:
            shutil.copyfile(self.full, target)
        else:
            shutil.move(self.made.pop(name), target)

    @property
    def quiet(self) -> pillm.Progress:
        """Return a progress that nobody sees: many short works would each draw a bar of their own."""
        return pillm.Progress(self.progress.stage)


def memory(planned: pillm.Plan) -> int:
    """Return the bytes that a file takes on its device."""
    return sum(size for purpose, size in planned.memory.items() if purpose not in ("available", "reserve"))


def stored_types(path: Path) -> dict[str, str]:
    """Return the storage type of each tensor of a file of ours."""
    return {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(os.fspath(path)).tensors}


def patterns(types: Mapping[str, str]) -> dict[str, str]:
    """Return types by tensor as types by regular expression, each for one tensor, as llama.cpp's quantiser takes them."""
    return {f"^{re.escape(name)}$": type_ for name, type_ in types.items()}
