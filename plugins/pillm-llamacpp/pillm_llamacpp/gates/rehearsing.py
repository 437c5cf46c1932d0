"""The token gate before anything is trained: the tokenizer alone is converted, and tried on the built-in strings."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pillm
from pillm_llamacpp.converting import conversion as convert
from pillm_llamacpp.gates import parity
from pillm_llamacpp.gates.checks import Findings


def try_tokenizer(checkpoint: pillm.Checkpoint, told: Findings, *, pre: str | None, tree: Path) -> pillm.Finding:
    """Return what comes of it; it takes some seconds."""
    rows, day = parity.rows_of(checkpoint, told.pre), parity.day_of(checkpoint)
    with tempfile.TemporaryDirectory(prefix="pillm-doctor-") as scratch:
        full = Path(scratch) / "vocabulary-F16.gguf"
        job = convert.Conversion(
            tree=str(tree), model=str(checkpoint.path.resolve()), outfile=str(full), outtype="f16", pre=pre, derived=told.pre,
            stops=told.stops, day=day, encoder=told.encoder, vocab_only=True,
        )  # fmt: skip
        try:
            made = convert.run(job, map(parity.asked, rows), Path(scratch), pillm.Progress())
            parity.prove(full, rows, made, told, day)
        except pillm.PillmError as error:
            return pillm.Finding("token gate", "broken", str(error))
    said = f"{len(rows)} texts and {len(made.specials)} special tokens have the same ids in transformers and in llama.cpp"
    return pillm.Finding("token gate", "ok", said)
