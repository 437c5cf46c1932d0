"""What one export measures its files with, and the better of a quantisation with and without an importance matrix."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillm
from pillm_llamacpp.measuring import keeping
from pillm_llamacpp.measuring.divergence import Compared, Reference
from pillm_llamacpp.measuring.texts import NAMED, Budget, Texts, affordable, texts_of
from pillm_llamacpp.quantizing.fallbacks import Rule
from pillm_llamacpp.quantizing.imatrix import Imatrix, gather, read, write
from pillm_llamacpp.quantizing.quantization import publish, quantize
from pillm_llamacpp.quantizing.quants import AUTO, OFF, UNWEIGHTED, WITH_IMATRIX, needing_imatrix

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTEXT = 2048


def check_imatrix(option: str, quants: Sequence[str], checkpoint: pillm.Checkpoint) -> None:
    """Raise ConfigError where a quantisation needs an importance matrix and gets none, what `read` raises of a file."""
    if option not in (AUTO, OFF):
        read(Path(option))
    elif (reason := needing_imatrix(quants)) and not texts_of(checkpoint).calibration:
        raise pillm.ConfigError(
            f"{reason}, and {checkpoint.path} has no calibration texts to compute one from. Train with pillm, or give the "
            "option imatrix a file that llama-imatrix made."
        )


@dataclass(slots=True)
class Measures:
    """The conversations, what the unquantised file predicts on them, and an importance matrix: each where there is one."""

    threads: int
    """To quantise with."""
    readers: int
    """Threads to read conversations with."""
    progress: pillm.Progress
    work: Path
    fallback: Rule = "warn"
    """What becomes of a file whose rows do not fit the blocks."""
    reference: Reference | None = None
    imatrix: Imatrix | None = None
    used: bool = False
    """Whether a file was made with the importance matrix."""
    budget: Budget = NAMED
    """How many conversations files are compared on."""
    state: str = ""
    """A key of the unquantised file: what an interrupted export had measured with the same one is not measured again."""
    texts: Texts = field(default_factory=Texts)
    """What is read; known when `prepare` is done."""

    def prepare(self, full: Path, checkpoint: pillm.Checkpoint, *, option: str, quants: Sequence[str]) -> None:
        """Read the conversations with the unquantised file, for what the quantisations need."""
        self.texts = texts = affordable(texts_of(checkpoint), full.stat().st_size, self.budget)
        if texts.validation:
            self._compare_with(full, texts)
        if option not in (AUTO, OFF):
            self.imatrix = read(Path(option))
        elif option == AUTO and texts.calibration and not UNWEIGHTED.issuperset(quants):
            self.imatrix = self._gathered(full, texts, checkpoint.label)

    def _gathered(self, full: Path, texts: Texts, label: str) -> Imatrix:
        data = hashlib.sha256("\0".join(texts.calibration).encode("utf-8", "replace")).hexdigest()[:12]
        name = f"{len(texts.calibration)} training conversations of {label} (sha256 {data})"
        kept, key = self.work / "gathered.imatrix.gguf", keeping.key_of(self.state, name, CONTEXT)
        if self.state and keeping.holds(kept, key):
            return read(kept, own=True)
        found = gather(full, texts.calibration, threads=self.readers, context=CONTEXT, progress=self.progress, datasets=[name])
        if self.state:
            keeping.clear(kept)
            write(found, kept)
            keeping.seal(kept, key)
        return found

    def _compare_with(self, full: Path, texts: Texts) -> None:
        folder, key = self.work / "reference", keeping.key_of(self.state, texts.validation, texts.answers, CONTEXT)
        if self.state and keeping.holds(folder, key):
            self.reference = Reference(folder)
        else:
            keeping.clear(folder)
            folder.mkdir()
            self.reference = Reference.of(
                full, texts.validation, threads=self.readers, context=CONTEXT, folder=folder, progress=self.progress,
                answers=texts.answers,
            )  # fmt: skip
            if self.state:
                keeping.seal(folder, key)
        if texts.seen:
            self.progress.note(
                "there are no validation rows, so files are compared on rows that were trained on: their divergences come out "
                "a little low. Set some rows aside with split.validation."
            )

    def make(self, source: Path, target: Path, quant: str) -> dict[str, Any]:
        """Write a quantisation and return its facts: `types`, `divergence`, `imatrix`.

        Where both can be measured it is made with the importance matrix and without, and what diverges less is kept.
        """
        if self.imatrix is None or quant in UNWEIGHTED:
            return self._made(source, target, quant, None)
        if quant in WITH_IMATRIX or self.reference is None:
            self.used = True
            return self._made(source, target, quant, self.imatrix)
        return self._better(source, target, quant, self.imatrix)

    def _made(self, source: Path, target: Path, quant: str, imatrix: Imatrix | None) -> dict[str, Any]:
        types = quantize(
            source, target, quant, threads=self.threads, progress=self.progress, imatrix=imatrix, fallback=self.fallback
        )
        return {"types": types, "divergence": self.measure(target), "imatrix": imatrix is not None}

    def measure(self, path: Path) -> pillm.Divergence | None:
        """Return a file's divergence from the unquantised one, where there are conversations."""
        found = self.compare(path)
        return found.divergence if found else None

    def compare(self, path: Path) -> Compared | None:
        """Return how far a file is from the unquantised one, in all and by conversation, where there are conversations."""
        if self.reference is None:
            return None
        return self.reference.compare(path, threads=self.readers, progress=self.progress)

    def _better(self, source: Path, target: Path, quant: str, imatrix: Imatrix) -> dict[str, Any]:
        files = [self.work / f"{kind}-{target.name}" for kind in ("plain", "weighted")]
        found = []
        for path, weights in zip(files, (None, imatrix), strict=True):
            # what does not fit the blocks is told once
            progress = pillm.Progress() if weights else self.progress
            rule: Rule = "allow" if weights else self.fallback
            types = quantize(source, path, quant, threads=self.threads, progress=progress, imatrix=weights, fallback=rule)
            compared = self.compare(path)
            if compared is None:
                raise pillm.DataError("files are compared on texts, and there are none.")
            found.append((types, compared))
        helps = found[0][1].better(found[1][1])
        self.used |= helps
        publish(files[helps], target)
        files[not helps].unlink()
        verdict = "is used" if helps else "is dropped"
        change = found[0][1].told(found[1][1])
        self.progress.note(f"{quant}: the importance matrix takes the divergence {change}, so it {verdict}.")
        types, compared = found[helps]
        return {"types": types, "divergence": compared.divergence, "imatrix": helps}

    def keep(self, path: Path) -> None:
        """Write the importance matrix beside the files that were made with it, where there are any."""
        if self.imatrix is not None and self.used:
            write(self.imatrix, path)
