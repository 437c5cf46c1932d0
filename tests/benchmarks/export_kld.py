"""How far a file of the searched types is from the unquantised student, against llama.cpp's own mixes of the same size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from pillm_llamacpp.choosing import moments
from pillm_llamacpp.choosing.front import Trial
from pillm_llamacpp.choosing.search import TUNED, Search, Wishes
from pillm_llamacpp.choosing.trials import Bench
from pillm_llamacpp.measuring.divergence import Reference
from pillm_llamacpp.measuring.measures import Measures
from pillm_llamacpp.measuring.texts import CHOICE
from pillm_llamacpp.quantizing.imatrix import Imatrix
from pillm_llamacpp.quantizing.quantization import quantize

import pillm
from tests.benchmarks.harness import Result
from tests.benchmarks.loopback.peers import folder
from tests.benchmarks.quant_finish import labelled, trained

GOALS = {"plain": 0.65, "imatrix": 0.80}
QUICK = ("Q4_K_S", "Q4_K_M", "Q4_0", "IQ4_NL", "IQ4_XS")
SAME_SIZE = 0.005
FEWEST = 100
DEVICE = "pi4-4gb"
LIMIT = (
    "the bits: a 4-bit code carries four bits however it is chosen; what is left is how far errors can be made good by the "
    "weights beside them"
)
PEERS = {"plain": "llama-quantize alone", "imatrix": "llama-quantize with the same importance matrix"}


def run(quick: bool) -> Iterator[Result]:
    """Train the nano student, choose types for it on training and validation text, and compare the files on test text."""
    rows = labelled()
    student = trained(rows, folder().parent / "benchmarks" / "nano-student", {})
    with TemporaryDirectory(prefix="pillm-") as place:
        work = Path(place)
        (full,) = pillm.export(student, pillm.exporter("gguf", quants=["F16"]), work / "full")
        bench = _bench(student, full.path, work)
        unseen = _unseen(rows, student, full.path, work)
        imatrix = bench.imatrix  # the search drops it where it does not help
        found = []
        for trial in _tuned(bench):
            if not quick or trial.quant in QUICK:
                found += [*_compared(trial, bench, imatrix, unseen)]
                yield from found[-len(GOALS) :]
    for peer in GOALS:
        yield _worst(peer, found)


def _worst(peer: str, found: Sequence[Result]) -> Result:
    """Return the figure of all sizes: that of the one with the largest ratio."""
    name = f"export-kld-{peer}"
    worst = max((one for one in found if one.benchmark.startswith(name)), key=lambda one: one.ratio)
    return replace(worst, benchmark=name, details={**worst.details, "worst of all sizes": worst.benchmark})


def _bench(student: pillm.Checkpoint, full: Path, work: Path) -> Bench:
    """Return what an export measures and makes its files with."""
    measures = Measures(2, 1, pillm.Progress(), work, budget=CHOICE)
    measures.prepare(full, student, option="auto", quants=("Q4_0",))
    if measures.reference is None or measures.imatrix is None:
        raise RuntimeError("the student carries no conversations to measure with")
    seen = moments.gather(full, student.calibration(), threads=1, folder=work / "moments", progress=pillm.Progress())
    (work / "trials").mkdir()
    return Bench(
        full=full, folder=work / "trials", device=DEVICE, reference=measures.reference, imatrix=measures.imatrix,
        threads=2, readers=1, progress=pillm.Progress(), moments=seen,
    )  # fmt: skip


def _tuned(bench: Bench) -> list[Trial]:
    with Search(bench, Wishes()) as search:
        return [trial for trial in search.run().trials if trial.name.endswith(TUNED)]


def _unseen(rows: Sequence[pillm.Example], student: pillm.Checkpoint, full: Path, work: Path) -> Reference:
    """Return what the student predicts on the test conversations, none of which anything was chosen by."""
    from pillm_hf.rows.opening import load_chat
    from pillm_hf.rows.text import encode

    held = [row for row in rows if row.prompt.split == "test"]
    known = {row.text for row in student.rendered()}
    texts = [row for row in encode(held, pillm.Contract(), load_chat(student.path), 1024).rows if row.text not in known]
    if len(texts) < FEWEST:
        raise RuntimeError(f"only {len(texts)} test conversations were never seen")
    (work / "test").mkdir()
    return Reference.of(
        full, [row.text for row in texts], threads=1, folder=work / "test", progress=pillm.Progress(),
        answers=[(row.start, row.end) for row in texts],
    )  # fmt: skip


def _compared(trial: Trial, bench: Bench, imatrix: Imatrix | None, unseen: Reference) -> Iterator[Result]:
    ours = unseen.against(bench.made[trial.name], threads=1, progress=pillm.Progress())
    for peer, goal in GOALS.items():
        path = bench.folder / f"{peer}-{trial.quant}.gguf"
        weights = imatrix if peer == "imatrix" else None
        quantize(bench.full, path, trial.quant, threads=2, progress=pillm.Progress(), imatrix=weights)
        size, theirs = path.stat().st_size, unseen.against(path, threads=1, progress=pillm.Progress())
        if not (1 - SAME_SIZE) * size <= trial.bytes <= size * (1 + SAME_SIZE):
            raise RuntimeError(f"{trial.name} has {trial.bytes} bytes, its peer {size}: they are not of one size")
        yield Result(
            benchmark=f"export-kld-{peer}-{trial.quant.lower().replace('_', '-')}",
            pillm=round(ours.mean, 6),
            peer=round(theirs.mean, 6),
            unit="nats per token",
            goal=goal,
            better="lower",
            peer_is=PEERS[peer],
            limit=LIMIT,
            versions={"llama-cpp-python": version("llama-cpp-python")},
            details={
                "bytes": {"pillm": trial.bytes, "peer": size},
                "same token": {"pillm": round(ours.top1, 5), "peer": round(theirs.top1, 5)},
                "interval": {"pillm": [ours.low, ours.high], "peer": [theirs.low, theirs.high]},
                "positions": ours.positions,
                "types": dict(Counter(trial.types.values())),
            },
        )
