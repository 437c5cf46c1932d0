"""Run a recipe: the verbs in a row, each stage skipped where its result stands already."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from pillm.artifacts import Benchmark, Checkpoint, Evaluation, ModelFile, Plan, to_json
from pillm.backends import Runner
from pillm.devices import device
from pillm.devices.planner import plan
from pillm.errors import ConfigError, DataError, Unavailable
from pillm.files import lock, storage_errors
from pillm.gates import Facts, GateResult, check_gates
from pillm.progress import Progress, events_file
from pillm.recipe import Recipe
from pillm.records import JSONObject
from pillm.report import RunFacts
from pillm.runfolder import publish_report, seconds_of, sizes_of, versions_of, write_recipe
from pillm.runrows import RunRows, rows_of
from pillm.stages.benchmarking import bench
from pillm.stages.exporting import export
from pillm.stages.labelling import Labelled, Labelling, RowCounts, label
from pillm.stages.training import Training, checkpoint_key, train
from pillm.store import Lineage, WorkFolder, is_current, machine, read_manifest, stage_key
from pillm.subjects import Scoring, ask_teacher, checkpoint_subject, model_subject, score

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A finished run: its folder, its report, what was shipped, and whether every gate was met."""

    folder: Path
    report: JSONObject
    models: tuple[ModelFile, ...]
    gates: tuple[GateResult, ...]

    @property
    def gates_met(self) -> bool:
        """Say whether every gate was met."""
        return all(gate.met for gate in self.gates)


@dataclass(slots=True, kw_only=True)
class _Run:
    """What a run has so far."""

    recipe: Recipe
    rows: RunRows
    folder: Path
    progress: Progress
    counts: list[RowCounts] = field(default_factory=list)
    plans: dict[str, Plan] = field(default_factory=dict)


def run(recipe: Recipe, out: Path | str | None = None, *, progress: Progress | None = None) -> RunResult:
    """Label, train, export, evaluate and bench as the recipe says, and write the report into the run folder `out`.

    Stages whose result stands already are skipped; the same command resumes an interrupted run. Raises ConfigError
    before anything is spent where the device cannot hold the model, what `rows_of` refuses, and what the stages raise.
    """
    folder = Path(out) if out is not None else Path("runs") / recipe.name
    progress = progress or Progress()
    first_look(recipe)
    rows = rows_of(recipe)
    first_look(recipe, fetch=True)  # a student that must be downloaded is planned before the teacher costs anything
    recipe.trainer.check_prompts(rows.sides["train"], recipe.contract)
    with lock(folder / ".lock"), storage_errors(folder), events_file(folder / "events.jsonl") as events:
        this = _Run(recipe=recipe, rows=rows, folder=folder, progress=progress.with_reader(events))
        write_recipe(recipe, folder)
        return _stages(this)


def _stages(this: _Run) -> RunResult:
    recipe, sides, filtered = this.recipe, this.rows.sides, this.rows.filtered
    this.counts.append(RowCounts(in_=filtered, rejected=filtered))
    labelled = _label(this)
    probes = tuple(replace(row, reference=None, given=None) for rows in sides.values() for row in rows)
    settings = Training(contract=recipe.contract, seed=recipe.file.seed, probes=probes, teacher=recipe.teacher)
    progress = this.progress.for_stage("train")
    checkpoint = train(labelled, recipe.trainer, this.folder / "train", settings=settings, progress=progress)
    named = replace(checkpoint, name=recipe.name)
    models = export(named, recipe.exporter, this.folder / "export", progress=this.progress.for_stage("export"))
    evaluations = _evaluate(this, checkpoint, models)
    benchmarks = _bench(this, models)
    gates = check_gates(recipe.gates, Facts(models=models, evaluations=evaluations, benchmarks=benchmarks, plans=this.plans))
    facts = RunFacts(
        recipe=recipe.name,
        rows=_total(this.counts).to_json(),
        models=models,
        evaluations=evaluations,
        benchmarks=benchmarks,
        plans=tuple(this.plans.values()),
        gates=gates,
        seconds=seconds_of(this.folder),
        versions=versions_of(this.folder),
        splits={side: len(rows) for side, rows in sides.items()},
        sizes=sizes_of(recipe),
        device=recipe.file.device,
        resolved=recipe.resolved(),
        notes=this.rows.notes,
    )
    report = publish_report(this.folder, facts, this.progress.for_stage("report"), seed=recipe.file.seed)
    return RunResult(folder=this.folder, report=report, models=tuple(models), gates=tuple(gates))


def first_look(recipe: Recipe, *, fetch: bool = False) -> Plan | None:
    """Plan the untrained student for the recipe's device; raise ConfigError where none of its files would fit.

    Without `fetch` nothing is downloaded: None where the student is not on this machine yet, or of an unknown shape.
    """
    if recipe.file.device is None:
        return None
    profile = device(recipe.file.device)
    base = recipe.trainer.base_checkpoint(fetch=fetch)
    if base is None:
        return None
    try:
        plans = [plan(base, profile, quant=quant) for quant in getattr(recipe.exporter, "quants", ()) or (None,)]
    except DataError as error:
        log.warning("the student cannot be planned for before it is exported: %s", error)
        return None
    fitting = [one for one in plans if one.fits]
    if not fitting:
        smallest = min(plans, key=lambda one: one.bytes)
        raise ConfigError(f"device {recipe.file.device!r}: {smallest.verdict} {' '.join(smallest.alternatives)}")
    for one in plans:
        if not one.fits:
            log.warning("%s: %s", one.quant, one.verdict)
    return fitting[-1]


def _label(this: _Run) -> Labelled:
    progress = this.progress.for_stage("label")
    settings = Labelling(attempts=this.recipe.file.label.attempts, contract=this.recipe.contract)
    rows = [row for side, rows in this.rows.sides.items() if side != "test" for row in rows]
    labelled = label(rows, this.recipe.teacher, this.folder / "label", settings=settings, progress=progress)
    this.counts.append(labelled.counts)
    _all_heard(labelled)
    return labelled


def _all_heard(labelled: Labelled) -> None:
    """Raise Unavailable where rows failed that the same command would get answered: the rest would be built on a hole."""
    if labelled.transient:
        raise Unavailable(
            f"{labelled.transient} of {labelled.counts.in_} rows got no answer ({labelled.path.parent / 'failed.jsonl'} says "
            "why). The answers that came are stored; the same command asks the others again."
        )


def _evaluate(this: _Run, checkpoint: Checkpoint, models: Sequence[ModelFile]) -> list[Evaluation]:
    recipe, sets = this.recipe, this.rows.sets
    if not sets:
        this.progress.for_stage("evaluate").warn("no rows are held out: nothing can be scored. Set split.test in the recipe.")
        return []
    scoring = Scoring(
        folder=this.folder / "evaluate",
        sets=sets,
        metrics=recipe.metrics,
        contract=recipe.contract,
        seed=recipe.file.seed,
        progress=this.progress,
    )
    teacher, answered = ask_teacher(recipe.teacher, scoring)
    this.counts.append(answered.counts)
    _all_heard(answered)
    subjects = [teacher]
    base = recipe.trainer.base_checkpoint()
    if recipe.checkpoint_runner is not None:
        if base is not None:
            subjects.append(checkpoint_subject(base, recipe.checkpoint_runner, "base", checkpoint_key(base)))
        trained = replace(checkpoint, name="checkpoint")
        subjects.append(checkpoint_subject(trained, recipe.checkpoint_runner, "checkpoint", checkpoint_key(checkpoint)))
    subjects += [model_subject(model, recipe.runner) for model in models]
    return [evaluation for subject in subjects for evaluation in score(subject, scoring)]


def _bench(this: _Run, models: Sequence[ModelFile]) -> list[Benchmark]:
    recipe, progress = this.recipe, this.progress.for_stage("bench")
    found = []
    runner = recipe.runner if recipe.bench_runner is None else recipe.bench_runner
    for model in models:
        found.append(_measure(model, runner, this, progress))
        if recipe.file.device is not None and model.path.suffix == ".gguf":
            predicted = plan(model, device(recipe.file.device))
            this.plans[model.label] = predicted
            if predicted.tg_tps is not None and predicted.pp_tps is not None:
                found.append(_as_benchmark(predicted))
    return found


def _measure(model: ModelFile, runner: Runner, this: _Run, progress: Progress) -> Benchmark:
    out = this.folder / "bench" / model.path.stem
    # threads, batch sizes and the machine cannot change an answer, but they are what a benchmark measures
    asked = {"model": model.sha256, "plan": asdict(this.recipe.bench), "runner": runner.options(), "machine": machine()}
    key = stage_key("bench", asked, runner)
    with lock(out.with_name(f".{out.name}.lock")):
        if is_current(out, key):
            progress.up_to_date(f"{model.label}: up to date")
        else:
            with WorkFolder(out, key) as work:
                file = work.path / "benchmark.json"
                record = bench(model, runner, plan=this.recipe.bench, out=file, progress=progress)
                work.publish(
                    Lineage(
                        verb="bench",
                        key=key,
                        backends=(runner,),
                        seconds=work.seconds,
                        results={"benchmark": to_json(record)},
                    )
                )
    return Benchmark(**(read_manifest(out) or {})["results"]["benchmark"])


def _as_benchmark(predicted: Plan) -> Benchmark:
    return Benchmark(
        model=predicted.model,
        device=predicted.device,
        basis="predicted",
        pp_tps=predicted.pp_tps or 0.0,
        tg_tps=predicted.tg_tps or 0.0,
        details={"source": predicted.source},
    )


def _total(counts: Sequence[RowCounts]) -> RowCounts:
    names = ("in_", "answered", "rejected", "failed", "pending")
    return RowCounts(**{name: sum(getattr(one, name) for one in counts) for name in names})
