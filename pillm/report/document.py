"""From the facts of a run to `report.json`: the one document that Markdown and HTML are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pillm.artifacts import Benchmark, Evaluation, Figure, ModelFile, Parity, Plan, to_json
from pillm.errors import DataError
from pillm.records import JSONObject
from pillm.report.blame import blame, blame_sentence
from pillm.report.facts import ROW_FATES, RunFacts
from pillm.report.findings import (
    Pick,
    load_predictions,
    main_metric,
    main_set,
    on_main_set,
    pick,
    wrong_count,
    wrong_rows,
)
from pillm.report.ladder import ladder
from pillm.report.ondevice import on_device
from pillm.report.trends import trend_document

SCHEMA_VERSION = 1


def build_report(facts: RunFacts, folder: Path | None = None) -> JSONObject:
    """Return the report document of a run; paths inside `folder` are relative to it, others lose their folders.

    Raises DataError where the rows do not balance.
    """
    sizes = {one.label: one.bytes for one in facts.models}
    predictions = load_predictions(facts.evaluations)
    picked = pick(facts.evaluations, sizes, facts.choice)
    chosen = picked.evaluation if picked else None
    benchmarks = [*facts.benchmarks, *_predicted(facts)]
    metric = main_metric(facts.evaluations)
    steps = ladder(facts.evaluations, predictions, sizes)
    lost = blame(steps, facts.checks)
    return {
        "schema_version": SCHEMA_VERSION,
        "recipe": facts.recipe,
        "folder": folder.as_posix() if folder is not None and not folder.is_absolute() else None,
        "device": facts.device or next((one.device for one in facts.plans), None),
        "at": facts.at or datetime.now(UTC).isoformat(timespec="seconds"),
        "main": {"metric": metric, "set": main_set(facts.evaluations)},
        "pick": _pick(facts, picked, sizes, metric),
        "rows": _balanced(facts.rows),
        "splits": dict(facts.splits),
        "parity": _parity(facts),
        "sizes": dict(facts.sizes),
        "models": [_model(one, folder) for one in facts.models],
        "evaluations": [_evaluation(one, folder) for one in facts.evaluations],
        "ladder": steps,
        "lost": {"sentence": blame_sentence(lost, steps), "stages": lost},
        "checks": [asdict(one) for one in facts.checks],
        "wrong": {
            "count": wrong_count(predictions, chosen, metric),
            "rows": wrong_rows(facts.evaluations, predictions, chosen),
        },
        "benchmarks": [_benchmark(one) for one in benchmarks],
        "plans": [to_json(one) for one in facts.plans],
        "on_device": on_device(facts.plans, chosen, facts.emulated, facts.not_emulated),
        "trends": trend_document(facts.trends),
        "gates": [_gate(one) for one in facts.gates],
        "training": facts.training,
        "choice": facts.choice,
        "seconds": {stage: round(seconds, 3) for stage, seconds in facts.seconds.items()},
        "versions": dict(facts.versions),
        "resolved": facts.resolved,
        "notes": list(facts.notes),
    }


def _balanced(rows: Mapping[str, int]) -> JSONObject:
    found = {fate: rows.get(fate, 0) for fate in ROW_FATES}
    ended = sum(count for fate, count in found.items() if fate != "in")
    if found["in"] != ended:
        raise DataError(f"the rows do not balance: {found['in']} came in, {ended} are accounted for ({dict(rows)}).")
    return found


def _parity(facts: RunFacts) -> JSONObject | None:
    carried = [one.parity for one in facts.models if one.parity is not None]
    worst: Parity | None = facts.parity or max(carried, key=lambda one: one.mismatches, default=None)
    return asdict(worst) if worst else None


def _model(model: ModelFile, folder: Path | None) -> JSONObject:
    return {
        "file": _place(model.path, folder),
        "quant": model.quant,
        "bytes": model.bytes,
        "sha256": model.sha256,
        "types": dict(model.types),
        "divergence": asdict(model.divergence) if model.divergence else None,
        "imatrix": model.imatrix,
    }


def _place(path: Path, folder: Path | None) -> str:
    if folder is not None and path.resolve().is_relative_to(folder.resolve()):
        return path.resolve().relative_to(folder.resolve()).as_posix()
    return path.name


def _evaluation(one: Evaluation, folder: Path | None) -> JSONObject:
    return {
        "subject": one.subject,
        "kind": one.kind,
        "set": one.set,
        "quant": one.quant,
        "rows": one.rows,
        "metrics": _metrics(one.metrics),
        "tags": {tag: _metrics(metrics) for tag, metrics in one.tags.items()},
        "compared_with": one.compared_with,
        "failed": one.failed,
        "cut": one.cut,
        "seconds": one.seconds,
        "predictions": _place(one.predictions, folder) if one.predictions else None,
    }


def _metrics(metrics: Mapping[str, Figure]) -> JSONObject:
    return {name: asdict(figure) for name, figure in metrics.items()}


def _predicted(facts: RunFacts) -> list[Benchmark | Plan]:
    """Return the plans that no benchmark says already and that know a decode speed."""
    said = {(one.model, one.device) for one in facts.benchmarks if one.basis == "predicted"}
    return [one for one in facts.plans if one.tg_tps is not None and (one.model, one.device) not in said]


def _benchmark(one: Benchmark | Plan) -> JSONObject:
    if isinstance(one, Plan):
        return {
            "model": one.model, "device": one.device, "basis": one.basis, "pp_tps": one.pp_tps, "tg_tps": one.tg_tps,
            "details": {"source": one.source, **({"extrapolated": True} if one.extrapolated else {})},
        }  # fmt: skip
    said = to_json(replace(one, readings=()))
    return {name: value for name, value in said.items() if value not in ([], {})}


def _gate(gate: Any) -> JSONObject:
    found: JSONObject = asdict(gate) if is_dataclass(gate) and not isinstance(gate, type) else dict(gate)
    return found


def _pick(facts: RunFacts, picked: Pick | None, sizes: Mapping[str, int], metric: str | None) -> JSONObject | None:
    if picked is None or metric is None:
        return None
    chosen = picked.evaluation
    score = chosen.metrics[metric].mean
    teacher = _mean(on_main_set(facts.evaluations), "teacher", metric)
    return {
        "model": chosen.subject,
        "quant": chosen.quant,
        "bytes": sizes.get(chosen.subject),
        "score": score,
        "teacher": teacher,
        "base": _mean(on_main_set(facts.evaluations), "base", metric),
        "kept": score / teacher if teacher else None,
        "by": picked.by,
        "why": picked.why,
    }


def _mean(evaluations: Sequence[Evaluation], kind: str, metric: str) -> float | None:
    return next((one.metrics[metric].mean for one in evaluations if one.kind == kind and metric in one.metrics), None)
