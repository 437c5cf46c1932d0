"""Make a file in a mix of types and measure what it costs: bytes, memory, speed, divergence, and the task's score."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gguf import GGUFReader

import pillm
from pillm_llamacpp.choosing import polishing, scoring
from pillm_llamacpp.choosing.front import FULL, Trial
from pillm_llamacpp.choosing.ledger import Ledger
from pillm_llamacpp.choosing.limits import EXACT
from pillm_llamacpp.choosing.moments import Moments
from pillm_llamacpp.choosing.reasons import Basis
from pillm_llamacpp.choosing.scoring import Score, Task
from pillm_llamacpp.measuring.divergence import Compared, Reference
from pillm_llamacpp.quantizing.quantization import publish, quantize

if TYPE_CHECKING:
    from collections.abc import Callable

    from pillm_llamacpp.quantizing.imatrix import Imatrix


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
    threads: int
    """To quantise with."""
    readers: int
    """Threads to read conversations and to answer with."""
    progress: pillm.Progress
    task: Task = field(default_factory=Task)
    basis: Basis = field(default_factory=Basis)
    imatrix: Imatrix | None = None
    moments: Moments | None = None
    rounds: bool = True
    """Whether files that ask for it are rounded with the activations in mind."""
    skipped: frozenset[str] = frozenset()
    """Tensors that are not."""
    ledger: Ledger = field(default_factory=Ledger)
    timed: Callable[[float], None] | None = None
    """Told how many seconds each measurement took, that of a file made and read."""
    made: dict[str, Path] = field(default_factory=dict)
    mixes: dict[str, Mix] = field(default_factory=dict)
    """What was tried, by name, to be made again where its file is gone."""
    found: dict[str, Compared] = field(default_factory=dict)
    """The divergence of what was tried, by conversation."""

    def make(self, mix: Mix) -> Path:
        """Write the file of a mix, whole or not at all, or return it where it stands already."""
        if mix.name in self.made:
            return self.made[mix.name]
        target = self.folder / f"{mix.name}.gguf"
        draft = self.folder / f"{mix.name}.draft"
        quantize(
            self.full, draft, mix.quant, threads=self.threads, progress=self.quiet, types=patterns(mix.types),
            imatrix=self.imatrix if mix.imatrix else None,
        )  # fmt: skip
        if self._rounds(mix) and self.moments is not None:
            polishing.polish(self.full, draft, self.moments, self.skipped)
        publish(draft, target)
        self.made[mix.name] = target
        return target

    def drop(self, name: str) -> None:
        """Remove a file that was made."""
        path = self.made.pop(name, None)
        if path is not None:
            path.unlink(missing_ok=True)

    def told(self, mix: Mix) -> list[Any]:
        """Return what the file of a mix depends on beside the full one, its name apart."""
        rounded = self._rounds(mix)
        weighed = mix.imatrix and self.imatrix is not None
        return [mix.quant, sorted(mix.types.items()), weighed, rounded, sorted(self.skipped) if rounded else []]

    def compared(self, mix: Mix) -> Compared:
        """Return how far a mix is from the full file, and keep no file of it."""
        try:
            return self._measured(mix)[1]
        finally:
            self.drop(mix.name)

    def divergence(self, mix: Mix) -> float:
        """Return the mean divergence of a mix, and keep no file of it."""
        return self.compared(mix).divergence.mean

    def tried(self, mix: Mix) -> Trial:
        """Return what a mix costs, its score apart."""
        facts, found = self._measured(mix)
        planned = pillm.plan(self.full, self.device, types=facts["types"])
        self.mixes[mix.name], self.found[mix.name] = mix, found
        return Trial(
            name=mix.name, quant=mix.quant, bytes=facts["bytes"], ram=memory(planned), kld=found.divergence.mean,
            divergence=found.divergence, tg_tps=planned.tg_tps, pp_tps=planned.pp_tps, types=mix.types,
            imatrix=mix.imatrix and self.imatrix is not None, rounded=self._rounds(mix),
        )  # fmt: skip

    def _measured(self, mix: Mix) -> tuple[dict[str, Any], Compared]:
        """Return a mix's size and types and its divergence; what an interrupted search has measured is not made again."""
        facts = self.ledger.get("file", self.told(mix))
        if facts is None:
            began = time.monotonic()
            path = self.make(mix)
            found = self.reference.compare(path, threads=self.readers, progress=self.quiet)
            facts = {
                "bytes": path.stat().st_size, "types": stored_types(path), "sha256": pillm.sha256_file(path),
                "divergence": asdict(found.divergence), "rows": found.rows,
            }  # fmt: skip
            self.ledger.add(facts, "file", self.told(mix))
            if self.timed is not None:
                self.timed(time.monotonic() - began)
        elif mix.name not in self.made:
            self._stand(mix, facts)
        self.progress.advance(1)
        return facts, Compared(pillm.Divergence(**facts["divergence"]), tuple(facts["rows"]))

    def _stand(self, mix: Mix, facts: Mapping[str, Any]) -> None:
        """Take up the file that an interrupted search left, where it is still the one that was measured."""
        path = self.folder / f"{mix.name}.gguf"
        if path.is_file() and path.stat().st_size == facts["bytes"] and pillm.sha256_file(path) == facts["sha256"]:
            self.made[mix.name] = path

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
        if not self.task.rows or trial.score is not None:
            return trial
        found = self._score(trial.name)
        main = found.main(self.task.metrics)
        exact, lost = found.figures.get(EXACT), None
        if trial.name != FULL and main is not None:
            lost = pillm.difference(self._score(FULL).rows.get(main, {}), found.rows[main])
        return replace(
            trial, score=found.figures[main].mean if main else None, exact=exact.mean if exact else None, lost=lost,
            scores=found.figures, cut=found.cut,
        )  # fmt: skip

    def _score(self, name: str) -> Score:
        made_of: Any = FULL if name == FULL else self.told(self.mixes[name])
        asked = self.task.told()
        said = self.ledger.get("score", made_of, asked)
        if said is None:
            path = self.full if name == FULL else self.make(self.mixes[name])
            found = scoring.score(path, self.task, threads=self.readers)
            told = {metric: asdict(figure) for metric, figure in found.figures.items()}
            said = self.ledger.add({"figures": told, "rows": found.rows, "cut": found.cut}, "score", made_of, asked)
        figures = {metric: pillm.Figure(**figure) for metric, figure in said["figures"].items()}
        return Score(figures=figures, rows=said["rows"], cut=said["cut"])

    def keep(self, name: str, target: Path) -> None:
        """Put a file where it ships from."""
        if name == FULL:
            shutil.copyfile(self.full, target)
            return
        if name not in self.made:
            self.make(self.mixes[name])
        shutil.move(self.made.pop(name), target)

    def _rounds(self, mix: Mix) -> bool:
        return mix.rounded and self.rounds and self.moments is not None

    @property
    def quiet(self) -> pillm.Progress:
        """Return a progress that nobody sees: many short works would each draw a bar of their own."""
        return pillm.Progress(self.progress.stage)


def memory(planned: pillm.Plan) -> int:
    """Return the bytes that a file takes on its device, without the pages that the system may take back."""
    return planned.needs


def stored_types(path: Path) -> dict[str, str]:
    """Return the storage type of each tensor of a file of ours."""
    return {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(os.fspath(path)).tensors}


def patterns(types: Mapping[str, str]) -> dict[str, str]:
    """Return types by tensor as types by regular expression, each for one tensor, as llama.cpp's quantiser takes them."""
    return {f"^{re.escape(name)}$": type_ for name, type_ in types.items()}
