"""The exporter `gguf`: convert once, prove parity, then quantise."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pillm
from pillm_llamacpp import source
from pillm_llamacpp.options import GGUFOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pillm_llamacpp.packing.packing import Packing
    from pillm_llamacpp.quantizing.finished import Finished


class GGUFExporter(GGUFOptions):
    """Packs a checkpoint into GGUF files, one per quantisation, proved token for token against its training."""

    name: ClassVar[str] = "gguf"
    writes: ClassVar[frozenset[str]] = frozenset({"gguf"})

    def check(self) -> None:
        """Raise MissingDependency where the converter, or what it needs, is not installed."""
        from pillm_llamacpp.gates.checks import check_tools

        source.require()
        check_tools()

    def examine(
        self, checkpoint: pillm.Checkpoint, *, student: dict[str, Any] | None = None, prove: bool = False
    ) -> Iterator[pillm.Finding]:
        """Yield what would stop an export: of the architecture, tokenizer, template, weights and quantisations.

        With `prove` the tokenizer is converted and tried on the built-in strings, which takes some seconds.
        """
        from pillm_llamacpp.gates.examination import examine_folder

        yield from examine_folder(self, checkpoint, student=student, prove=prove)

    def forecast(self, student: dict[str, Any], rows: int, tokens: int) -> pillm.ExportForecast | None:
        """Return what a choice among quantisations will take; None where the quants are named, or the shape is unusual."""
        if not self.chooses or self.device is None:
            return None
        from pillm_llamacpp.choosing.forecast import foretold

        return foretold(student, pillm.device(self.device), self.probes, (rows, tokens), self.rows)

    def export(self, checkpoint: pillm.Checkpoint, out: Path, progress: pillm.Progress) -> Iterator[pillm.ModelFile]:
        """Write one GGUF per quantisation into `out`, each whole or not at all, and yield it when it is proved.

        Raises MissingDependency where the converter is not installed, DataError where the folder is not a model that
        llama.cpp knows, ConfigError where the memory does not hold the checkpoint, BackendError where token ids or logits
        differ, StorageError where the disk is full.
        """
        from pillm_llamacpp.gates.checks import check
        from pillm_llamacpp.gates.room import precision
        from pillm_llamacpp.measuring.measures import check_imatrix
        from pillm_llamacpp.packing import picking
        from pillm_llamacpp.packing.alone import Alone
        from pillm_llamacpp.packing.packing import Packing
        from pillm_llamacpp.writing.sources import laid_out

        self.check()
        with laid_out(checkpoint, self.base) as laid:
            for note in laid.notes:
                progress.note(f"{note}.")
            whole = replace(laid.checkpoint, name=checkpoint.label, told=checkpoint.told, origin=checkpoint.origin)
            foreign = (checkpoint.path, laid.base) if laid.adapter else None
            card = pillm.card_of(whole, version=self.release, license=self.license, title=self.title, adapter=foreign)
            findings = check(whole, source.require(), self.quants)
            held = precision(whole.path, whole.config) if self.logits == "check" else None
            if held is None:
                card = replace(card, lineage={**card.lineage, "pillm.logits": "not proved"})
                progress.warn("what the files compute is not compared with the checkpoint (logits=skip), and they say so.")
            if self.adapter == "only":
                card = replace(card, relation="adapter")
                yield from Alone(self, laid, findings, card, out, progress, held).files()
                pillm.write_card(out, card)
                return
            check_imatrix(self.imatrix, self.quants, whole)
            if self.chooses:
                picking.check(self, whole)
            work = out / ".gguf-work"

            def packing(finished: Finished) -> Packing:
                return Packing(self, whole, findings, card, work, progress, finished, laid.adapter, held)

            yield from self._packed(checkpoint, work, packing)

    def _packed(
        self, checkpoint: pillm.Checkpoint, work: Path, packing: Callable[[Finished], Packing]
    ) -> Iterator[pillm.ModelFile]:
        from pillm_llamacpp.quantizing.finished import Finished, state_of

        out, finished = work.parent, None
        try:
            finished = Finished(work, state_of(checkpoint.path, self.parents(checkpoint), self.identity()))
            yield from packing(finished).files()
            shutil.rmtree(work, ignore_errors=True)
        # an interruption leaves all as it is, for the same command to go on with
        except Exception as error:
            told = _storage(out, error) if isinstance(error, OSError) else error
            if self.keep_work and isinstance(told, pillm.PillmError):
                told.args = (f"{told} The intermediate files are kept in {work} until the next export.",)
            elif finished is not None:
                finished.give_up()
            if told is error:
                raise
            raise told from error

    def parents(self, checkpoint: pillm.Checkpoint) -> dict[str, str]:
        """Return the hash of an adapter's base: another base makes other files."""
        from pillm_llamacpp.writing.sources import parents

        return parents(checkpoint, self.base)


def _storage(out: Path, error: OSError) -> pillm.StorageError:
    return pillm.StorageError(
        f"{out} could not be written: {error.strerror or error}. Nothing half-written was left under a final name; "
        "free some space, or choose another folder, and run the same command again."
    )
