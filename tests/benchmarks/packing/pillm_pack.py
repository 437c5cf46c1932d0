"""pillm's side: what the exporter does with an adapter's folder, without its gates."""

from __future__ import annotations

import sys
from pathlib import Path

from pillm_llamacpp import source
from pillm_llamacpp.quantizing.quantization import publish, quantize
from pillm_llamacpp.writing.sources import laid_out
from pillm_llamacpp.writing.writer import Writing, write

import pillm

adapter, out, quant, threads = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
target, progress = out / f"student-{quant}.gguf", pillm.Progress("export")
with laid_out(pillm.Checkpoint(path=adapter, name="student"), None) as laid:
    folder = str(laid.checkpoint.path)
    told = Writing(
        tree=str(source.require()), texts=folder, weights=folder, adapter=str(laid.adapter), derived="gpt-2", threads=threads
    )
    if quant == "Q8_0":
        part = target.with_name("student.part")
        write(told, {quant: part}, progress)
        publish(part, target)
    else:
        full = out / "student-F16.gguf"
        write(told, {"F16": full}, progress)
        quantize(full, target, quant, threads=threads, progress=progress)
        full.unlink()
