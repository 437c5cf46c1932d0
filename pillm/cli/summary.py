"""What a run did, or would do, on one screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pillm.cli.cards import TRUST, megabytes, plan_lines, plans_table
from pillm.cli.progress_bar import clock
from pillm.report.headline import is_void, void_lines

if TYPE_CHECKING:
    from rich.table import Table

    from pillm.forecasts import ExportForecast, TrainingForecast
    from pillm.records import JSONObject
    from pillm.rehearsal import DryRun
    from pillm.stages.labelling import Forecast


def run_summary(report: JSONObject, folder: Path) -> list[Any]:
    """Return the rows, scores, files and speeds of a report, and where to read on."""
    rows = report["rows"]
    counted = " + ".join(f"{rows[name]} {name}" for name in ("answered", "rejected", "failed", "pending"))
    shown: list[Any] = [f"{rows['in']} rows = {counted}", *report.get("notes", ())]
    parity = report.get("parity")
    if parity:
        shown.append(f"parity: {parity['rows']} rows, {parity['mismatches']} mismatches")
    if report.get("evaluations"):
        shown += ["", _scores(report)]
    if report.get("models"):
        shown += ["", _models(report), *void_lines(report)]
    seconds = ", ".join(f"{stage} {value:.0f} s" for stage, value in report.get("seconds", {}).items())
    return [*shown, "", f"{seconds}", f"report: {folder / 'report.html'}"]


def _scores(report: JSONObject) -> Table:
    from rich.table import Table

    sets = list(dict.fromkeys(one["set"] for one in report["evaluations"]))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("exact" if _names_exact(report) else "first metric", overflow="fold")
    for name in sets:
        table.add_column(name, justify="right", no_wrap=True)
    by_subject: dict[tuple[str, str], dict[str, str]] = {}
    for one in report["evaluations"]:
        figure = one["metrics"].get("exact") or next(iter(one["metrics"].values()), None)
        if figure:
            text = f"{figure['mean']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
            by_subject.setdefault((one["kind"], one["subject"]), {})[one["set"]] = text
    for (kind, subject), by_set in by_subject.items():
        table.add_row(subject if kind in ("model", subject) else f"{kind} {subject}", *(by_set.get(name, "-") for name in sets))
    return table


def _names_exact(report: JSONObject) -> bool:
    return all("exact" in one["metrics"] for one in report["evaluations"])


def _models(report: JSONObject) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("file", overflow="fold")
    for heading in ("quant", "MB", "here pp", "tg t/s", "predicted tg t/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for model in report["models"]:
        name = Path(model["file"]).name
        found = {one["basis"]: one for one in report.get("benchmarks", []) if one["model"] == name}
        measured, predicted = found.get("measured"), found.get("predicted")
        mark = " (void)" if measured and is_void(measured) else ""
        speeds = [f"{measured[name]:,.0f}{mark}" for name in ("pp_tps", "tg_tps")] if measured else ["-", "-"]
        far = " (extrapolated)" if predicted and predicted.get("details", {}).get("extrapolated") else ""
        there = f"{predicted['tg_tps']:,.0f} on {predicted['device']}{far}" if predicted else "-"
        table.add_row(name, model["quant"], megabytes(model["bytes"]), *speeds, there)
    return table


def rehearsal_lines(expected: DryRun) -> list[Any]:
    """Return what a run would do: the resolved recipe, rows, tokens, disk, time, the plans, the gates, obstacles."""
    lines: list[Any] = [yaml.safe_dump(expected.recipe, allow_unicode=True, sort_keys=False, width=100).rstrip(), ""]
    lines.append("rows     " + ", ".join(f"{name} {count:,}" for name, count in expected.rows.items()))
    lines += [f"         {note}" for note in expected.notes]
    lines.append(f"teacher  to label: {_to_ask(expected.label)}")
    if expected.held_out is not None:
        lines.append(f"         to be scored: {_to_ask(expected.held_out)}")
    needed = f"about {megabytes(expected.disk_bytes)} MB" if expected.disk_bytes is not None else "unknown"
    lines.append(f"disk     {needed} needed, {megabytes(expected.free_bytes)} MB free for {expected.folder}")
    for stage in expected.stages:
        time = f"{clock(stage.seconds)} ({stage.basis})" if stage.seconds is not None else "time unknown"
        lines.append(f"{stage.stage:8} {stage.state}, {time}")
        if stage.stage == "train" and expected.training is not None:
            lines.append(f"         {_training(expected.training)}")
        if stage.stage == "export" and expected.export is not None:
            lines.append(f"         {_exporting(expected.export)}")
    if expected.plan is not None:
        lines += ["", *plan_lines(expected.plan)]
    if len(expected.plans) > 1:
        lines += ["", "All of its files:", plans_table(expected.plans), TRUST]
    if expected.gates:
        lines += ["", *(f"gate     {one.sentence}" for one in expected.gates)]
    if expected.obstacles:
        lines += ["", *(f"obstacle {one}" for one in expected.obstacles)]
    return [*lines, "", "Nothing was asked, trained or written."]


def _training(told: TrainingForecast) -> str:
    advice = f" {told.advice}" if told.advice else ""
    return f"about {told.steps:,} steps, {told.tokens:,} tokens, {told.memory}.{advice}"


def _exporting(told: ExportForecast) -> str:
    disk = megabytes(told.disk_bytes)
    return (
        f"at most {told.files} files are made and measured, {told.tokens:,} tokens read with them, {disk} MB of disk at a time"
    )


def _to_ask(asked: Forecast) -> str:
    tokens = "tokens unknown"
    if asked.prompt_tokens is not None and asked.completion_tokens is not None:
        tokens = f"about {asked.prompt_tokens:,} prompt and {asked.completion_tokens:,} completion tokens"
    given = f"; {asked.given:,} arrive answered" if asked.given else ""
    waiting = f", {asked.in_batches:,} wait in batches" if asked.in_batches else ""
    most = f" in at most {asked.calls:,} calls" if asked.calls > asked.to_ask else ""
    failed = f"; {asked.failed:,} failed for good (--retry failed asks again)" if asked.failed else ""
    return f"{asked.to_ask:,} rows to ask{most}, {tokens}{given}; {asked.stored:,} are stored{waiting}{failed}"
