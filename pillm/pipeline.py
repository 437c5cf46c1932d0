"""Run a recipe: the verbs in a row, each stage skipped where its result stands already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pillm.artifacts import Benchmark, Checkpoint, Evaluation, ModelFile, Plan, to_json
from pillm.devices.planner import plan
from pillm.emulation import Emulated, emulate
from pillm.errors import BackendError, ConfigError, DataError, Unavailable
from pillm.files import lock, storage_errors
from pillm.gates import Facts, GateResult, check_gates, needs_speed
from pillm.lengths import counted_lengths
from pillm.outlook import make_ready, measured_rows, planning_lengths
from pillm.performance.history import History
from pillm.performance.trend import series_of
from pillm.progress import Progress, events_file
from pillm.recipe import Recipe
from pillm.records import JSONObject
from pillm.report import RunFacts, read_choice, read_training
from pillm.report.filechecks import check_files
from pillm.report.findings import CHOOSING_SET, pick
from pillm.results import tell
from pillm.runfolder import EVENTS_FILE, publish_report, run_folder, seconds_of, sizes_of, versions_of, write_recipe
from pillm.runrows import RunRows
from pillm.runspeeds import Once, foretold, measured_once
from pillm.stages.exporting import export
from pillm.stages.labelling import FAILED, Labelled, RowCounts, label
from pillm.stages.training import Training, checkpoint_key, train
from pillm.subjects import (
    Scoring,
    Subject,
    a_sample,
    ask_teacher,
    checkpoint_subject,
    device_subject,
    model_subject,
    on_labelled,
    score,
)
from pillm.verification import BENCH_HISTORY

ADAPTER = "adapter"
"""Where in a checkpoint's folder a trainer leaves the adapter that it merged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A finished run: its folder, its report, what was shipped, and whether every gate was met."""

    folder: Path
    report: JSONObject
    models: tuple[ModelFile, ...]
    gates: tuple[GateResult, ...]

    @property
    def gates_met(self) -> bool:
        """Say whether every gate was judged and met."""
        return all(gate.met for gate in self.gates)


@dataclass(slots=True, kw_only=True)
class _Run:
    """What a run has so far."""

    recipe: Recipe
    rows: RunRows
    folder: Path
    progress: Progress
    retry: frozenset[str]
    counts: list[RowCounts] = field(default_factory=list)
    plans: dict[str, Plan] = field(default_factory=dict)


def run(
    recipe: Recipe,
    out: Path | str | None = None,
    *,
    progress: Progress | None = None,
    retry: frozenset[str] = frozenset(),
) -> RunResult:
    """Label, train, export, evaluate and bench as the recipe says, and write the report into the run folder `out`.

    Stages whose result stands already are skipped; the same command resumes an interrupted run. `retry` holds the states,
    "failed" or "rejected", whose rows the teacher is asked again. Raises what `run_folder` and `make_ready` raise before
    the teacher is asked, and what the stages raise.
    """
    folder, progress = run_folder(recipe, out), progress or Progress()
    rows = make_ready(recipe, folder)
    with lock(folder / ".lock"), storage_errors(folder), events_file(folder / EVENTS_FILE) as events:
        this = _Run(recipe=recipe, rows=rows, folder=folder, progress=progress.with_reader(events), retry=retry)
        write_recipe(recipe, folder)
        return _stages(this)


def _stages(this: _Run) -> RunResult:
    recipe, sides, filtered = this.recipe, this.rows.sides, this.rows.filtered
    this.counts.append(RowCounts(in_=filtered, rejected=filtered))
    labelled = _label(this)
    probes = tuple(replace(row, reference=None, given=None, rejected=None) for rows in sides.values() for row in rows)
    settings = Training(contract=recipe.contract, seed=recipe.file.seed, probes=probes, teacher=recipe.teacher)
    progress = this.progress.for_stage("train")
    checkpoint = train(labelled, recipe.trainer, this.folder / "train", settings=settings, progress=progress)
    named = replace(checkpoint, name=recipe.name, told=recipe.told.to_json())
    models = export(named, recipe.exporter, this.folder / "export", progress=this.progress.for_stage("export"))
    evaluations = _evaluate(this, checkpoint, models, labelled)
    benchmarks = _bench(this, models, evaluations)
    tell(this.folder, evaluations, benchmarks)
    target = recipe.device.name if recipe.device else None
    emulated, why_not = _emulate(this, models, evaluations)
    known = Facts(models=models, evaluations=evaluations, benchmarks=benchmarks, plans=this.plans, device=target)
    gates = check_gates(recipe.gates, known)
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
        training=read_training(checkpoint.path),
        choice=read_choice(this.folder / "export"),
        splits={side: len(rows) for side, rows in sides.items()},
        sizes=sizes_of(recipe),
        device=target,
        resolved=recipe.resolved(this.folder),
        notes=this.rows.notes,
        checks=check_files(models, checkpoint),
        emulated=to_json(emulated) if emulated else None,
        not_emulated=why_not,
        trends=series_of(History(this.folder / BENCH_HISTORY).read().measured()),
    )
    progress = this.progress.for_stage("report")
    report = publish_report(this.folder, facts, progress, seed=recipe.file.seed, making=recipe.making)
    return RunResult(folder=this.folder, report=report, models=tuple(models), gates=tuple(gates))


def _label(this: _Run) -> Labelled:
    progress = this.progress.for_stage("label")
    settings = replace(this.recipe.labelling, retry=this.retry)
    rows = [row for side, rows in this.rows.sides.items() if side != "test" for row in rows]
    labelled = label(rows, this.recipe.teacher, this.folder / "label", settings=settings, progress=progress)
    this.counts.append(labelled.counts)
    _all_heard(labelled)
    if labelled.counts.failed:
        why = this.folder / "label" / FAILED
        untaught = f"{labelled.counts.failed} rows failed for good and are not trained on"
        progress.warn(f"{untaught}; {why} says why. Ask them again: --retry failed")
    return labelled


def _all_heard(labelled: Labelled) -> None:
    """Raise Unavailable where rows failed that the same command would get answered: the rest would be built on a hole."""
    if labelled.transient:
        raise Unavailable(
            f"{labelled.transient} of {labelled.counts.in_} rows got no answer ({labelled.path.parent / 'failed.jsonl'} says "
            "why). The answers that came are stored; the same command asks the others again."
        )


def _evaluate(this: _Run, checkpoint: Checkpoint, models: Sequence[ModelFile], labelled: Labelled) -> list[Evaluation]:
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
    teacher, answered = ask_teacher(recipe.teacher, scoring, retry=this.retry & {"failed"})
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
    found = [evaluation for subject in subjects for evaluation in score(subject, scoring)]
    some = a_sample(scoring)
    for subject in _witnesses(this, checkpoint, models):
        try:
            found += score(subject, some)
        except (BackendError, ConfigError, DataError) as error:  # it would have told more; without it the run is whole
            this.progress.for_stage("evaluate").warn(f"{subject.kind} {subject.name} was not scored: {error}")
    return found + _to_choose_on(this, models, labelled, scoring)


def _to_choose_on(this: _Run, models: Sequence[ModelFile], labelled: Labelled, scoring: Scoring) -> list[Evaluation]:
    """Score several files on the validation rows, unless their exporter chose: nothing is chosen on what is reported."""
    if len(models) < 2 or read_choice(this.folder / "export"):
        return []
    apart = on_labelled(scoring, CHOOSING_SET, this.rows.sides[CHOOSING_SET][: this.recipe.file.evaluate.max_rows], labelled)
    return [one for model in models for one in score(model_subject(model, this.recipe.runner), apart)]


def _witnesses(this: _Run, checkpoint: Checkpoint, models: Sequence[ModelFile]) -> list[Subject]:
    """Return what tells one stage's loss from the next's: the adapter before it was merged, the files on their device."""
    recipe, adapter = this.recipe, checkpoint.path / ADAPTER
    found = []
    if recipe.checkpoint_runner is not None and (adapter / "adapter_config.json").is_file():
        unmerged = Checkpoint(path=adapter, name="adapter")
        found.append(checkpoint_subject(unmerged, recipe.checkpoint_runner, "adapter", checkpoint_key(unmerged)))
    if recipe.bench_runner is not None and "answer" in recipe.bench_runner.capabilities:
        found += [device_subject(model, recipe.bench_runner) for model in models]
    return found


def _bench(this: _Run, models: Sequence[ModelFile], evaluations: Sequence[Evaluation]) -> list[Benchmark]:
    recipe, progress = this.recipe, this.progress.for_stage("bench")
    profile, found = recipe.device, []
    told = measured_rows(recipe, this.rows) if profile is not None else None
    runner = recipe.runner if recipe.bench_runner is None else recipe.bench_runner
    how = Once(plan=recipe.bench, progress=progress, judged=needs_speed(recipe.gates))
    for model in models:
        measured = measured_once(model, runner, this.folder / "bench", how)
        if recipe.bench_runner is not None and profile is not None:  # it runs there: its figures are the device's
            details = {**measured.details, "machine": measured.device}
            measured = replace(measured, device=profile.name, details=details)
        found.append(measured)
        if profile is not None and told is not None and model.path.suffix == ".gguf":
            counted = counted_lengths(evaluations, model.label, told.typical)
            context, lengths = planning_lengths(recipe, told.longest, counted)
            predicted = plan(model, profile, context=context, lengths=lengths)
            this.plans[model.label] = predicted
            if predicted.tg_tps is not None and predicted.pp_tps is not None:
                found.append(foretold(predicted))
    return found


def _emulate(this: _Run, models: Sequence[ModelFile], evaluations: Sequence[Evaluation]) -> tuple[Emulated | None, str | None]:
    """Let the file that the report speaks of answer one held-out row on its device's processor, where that can be played."""
    chosen = pick(evaluations, {model.label: model.bytes for model in models}, read_choice(this.folder / "export"))
    model = next((one for one in models if chosen and one.label == chosen.evaluation.subject), None)
    rows = next(iter(this.rows.sets.values()), [])
    if model is None or not rows:
        return None, None
    return emulate(this.recipe, model, rows[0], this.folder / "evaluate", this.progress.for_stage("emulate"))


def _total(counts: Sequence[RowCounts]) -> RowCounts:
    names = ("in_", "answered", "rejected", "failed", "pending")
    return RowCounts(**{name: sum(getattr(one, name) for one in counts) for name in names})
