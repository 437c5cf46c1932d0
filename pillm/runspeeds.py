"""How fast a run's files are: each is timed once, and what was foretold stands beside it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pillm.artifacts import Benchmark, BenchPlan, ModelFile, Plan, to_json
from pillm.backends import Runner
from pillm.files import lock, write_json
from pillm.performance.benchmark import read_benchmark
from pillm.performance.history import History
from pillm.progress import Progress
from pillm.provenance import machine
from pillm.stages.benchmarking import measure
from pillm.stages.measurement import Measuring
from pillm.store import Lineage, WorkFolder, is_current, read_manifest, stage_key
from pillm.verification import BENCH_HISTORY


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """What of a run's files is timed, and whether gates are judged by it: a void record will not do then."""

    plan: BenchPlan
    progress: Progress = field(default_factory=Progress)
    judged: bool = False


def measured_once(model: ModelFile, runner: Runner, folder: Path, how: Once) -> Benchmark:
    """Return the record of a file in a run's `bench` folder; it is timed where the plan, runner, file or machine is another.

    So it is again where the record is void and gates are judged by it. Every measurement stands in the run's history too;
    raises what `bench` raises.
    """
    out, progress = folder / model.path.stem, how.progress
    # threads, batch sizes and the machine cannot change an answer, but they are what a benchmark measures
    plan = {name: value for name, value in asdict(how.plan).items() if name != "cool"}  # to wait changes no figure
    asked = {"model": model.sha256, "plan": plan, "runner": runner.options(), "machine": machine()}
    key = stage_key("bench", asked, runner)
    with lock(out.with_name(f".{out.name}.lock")):
        if is_current(out, key) and not (how.judged and _kept(out).void):
            progress.up_to_date(f"{model.label}: up to date")
        else:
            with WorkFolder(out, "bench", key) as work:
                history = History(folder.parent / BENCH_HISTORY)
                record, _ = measure(model, runner, Measuring(plan=how.plan, history=history, progress=progress))
                for reason in record.void:
                    progress.note(f"{model.label}: the speed is of a disturbed machine: {reason}")
                write_json(work.path / "benchmark.json", to_json(record))
                results = {"benchmark": to_json(record)}
                work.publish(Lineage(verb="bench", key=key, backends=(runner,), seconds=work.seconds, results=results))
    return _kept(out)


def _kept(out: Path) -> Benchmark:
    return read_benchmark(json.dumps((read_manifest(out) or {})["results"]["benchmark"]), str(out))


def foretold(predicted: Plan) -> Benchmark:
    """Return a plan's speeds as a benchmark that says that it was predicted."""
    return Benchmark(
        model=predicted.model,
        device=predicted.device,
        basis="predicted",
        pp_tps=predicted.pp_tps or 0.0,
        tg_tps=predicted.tg_tps or 0.0,
        details={"source": predicted.source, **({"extrapolated": True} if predicted.extrapolated else {})},
        ttft_ms=1000 * predicted.ttft_s if predicted.ttft_s else None,
    )
