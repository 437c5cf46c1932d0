"""What one export measures its files with, and the better of a quantisation with and without an importance matrix."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillm
from pillm_llamacpp.gates.fallbacks import Rule
from pillm_llamacpp.measuring.divergence import Divergence, Reference
from pillm_llamacpp.measuring.imatrix import Imatrix, gather, read, write
from pillm_llamacpp.measuring.texts import affordable, texts_of
from pillm_llamacpp.quantizing.quantization import publish, quantize
from pillm_llamacpp.quantizing.quants import AUTO, OFF, UNWEIGHTED, WITH_IMATRIX, needing_imatrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pillm_llamacpp.measuring.texts import Texts

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

    def prepare(self, full: Path, checkpoint: pillm.Checkpoint, *, option: str, quants: Sequence[str]) -> None:
        """Read the conversations with the unquantised file, for what the quantisations need."""
        texts = affordable(texts_of(checkpoint), full.stat().st_size)
        if texts.validation:
            self._compare_with(full, texts)
        if option not in (AUTO, OFF):
            self.imatrix = read(Path(option))
        elif option == AUTO and texts.calibration and not UNWEIGHTED.issuperset(quants):
            data = hashlib.sha256("\0".join(texts.calibration).encode("utf-8", "replace")).hexdigest()[:12]
            self.imatrix = gather(
                full, texts.calibration, threads=self.readers, context=CONTEXT, progress=self.progress,
                datasets=[f"{len(texts.calibration)} training conversations of {checkpoint.label} (sha256 {data})"],
            )  # fmt: skip

    def _compare_with(self, full: Path, texts: Texts) -> None:
        folder = self.work / "reference"
        folder.mkdir()
        self.reference = Reference.of(
            full, texts.validation, threads=self.readers, context=CONTEXT, folder=folder, progress=self.progress,
            answers=texts.answers,
        )  # fmt: skip
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

    def measure(self, path: Path) -> Divergence | None:
        """Return a file's divergence from the unquantised one, where there are conversations."""
        if self.reference is None:
            return None
        return self.reference.against(path, threads=self.readers, progress=self.progress)

    def _better(self, source: Path, target: Path, quant: str, imatrix: Imatrix) -> dict[str, Any]:
        plain, weighted = (self.work / f"{kind}-{target.name}" for kind in ("plain", "weighted"))
        facts = self._made(source, plain, quant, None)
        # what does not fit the blocks was told already
        types = quantize(source, weighted, quant, threads=self.threads, progress=pillm.Progress(), imatrix=imatrix)
        without, with_it = facts["divergence"], self.measure(weighted)
        helps = with_it is not None and with_it.mean < without.mean
        if helps:
            facts, self.used = {"types": types, "divergence": with_it, "imatrix": True}, True
        publish(weighted if helps else plain, target)
        (plain if helps else weighted).unlink()
        became = f"{without.mean:.3g} to {with_it.mean:.3g}" if with_it else ""
        verdict = "is used" if helps else "is dropped"
        self.progress.note(f"{quant}: the importance matrix takes the divergence from {became} nats, so it {verdict}.")
        return facts

    def keep(self, path: Path) -> None:
        """Write the importance matrix beside the files that were made with it, where there are any."""
        if self.imatrix is not None and self.used:
            write(self.imatrix, path)
