"""`report.md`: the report as tables that read well on a code host and in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pillm.gates import figure_text
from pillm.report.choice import HEADS, cells
from pillm.report.headline import basis, gates_sentence, headline, void_lines
from pillm.report.ondevice import markdown_part
from pillm.report.trainingfacts import training_facts, training_sentence, training_table
from pillm.report.trends import trend_lines
from pillm.report.words import (
    certain,
    count,
    duration,
    interval,
    loss,
    set_title,
    signed,
    student_titles,
    subject_title,
)
from pillm.wording import code as code
from pillm.wording import escaped as escaped
from pillm.wording import score, size, speed
from pillm.wording import table as table

MAX_WRONG = 10
_MARKS = {True: "✅", False: "❌", None: "❔"}
_MET = {True: "yes", False: "**no**", None: "**not judged**"}


def markdown(report: Mapping[str, Any]) -> str:
    """Return a report document as Markdown."""
    verdict = "".join(f"**{piece}**" if strong else piece for piece, strong in headline(report))
    gates = gates_sentence(report)
    parts = [
        f"# {escaped(report['recipe'])}",
        verdict,
        _pick(report),
        f"{_MARKS[gates[1]]} {gates[0]}." if gates else "",
        _scores(report),
        _ladder(report),
        _files(report),
        _choice(report),
        _speeds(report),
        markdown_part(report),
        _training(report),
        _gates(report),
        _wrong(report),
        _facts(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _pick(report: Mapping[str, Any]) -> str:
    chosen = report["pick"]
    return f"{code(chosen['model'])} was chosen: {escaped(chosen['why'])}." if chosen and chosen.get("why") else ""


def _scores(report: Mapping[str, Any]) -> str:
    tables = []
    for name in dict.fromkeys(one["set"] for one in report["evaluations"]):
        found = [one for one in report["evaluations"] if one["set"] == name]
        metrics = list(dict.fromkeys(metric for one in found for metric in one["metrics"]))
        rows = [
            [
                escaped(subject_title(one)),
                *(_cell(one["metrics"].get(metric), one["rows"]) for metric in metrics),
                str(one["failed"]),
            ]
            for one in found
        ]
        heads = ["subject", *(escaped(metric) for metric in metrics), "failed"]
        compared = dict.fromkeys(one["compared_with"] for one in found)
        about = f"{count(found[0]['rows'])} rows, compared with the {' / '.join(compared)}; 95 % intervals."
        tables.append(f"### {escaped(set_title(name))}\n\n{escaped(about)}\n\n{table(heads, rows)}")
    return "\n\n".join(["## Scores", *tables]) if tables else ""


def _cell(figure: Mapping[str, Any] | None, rows: int) -> str:
    applied = f" n={count(figure['rows'])}" if figure and figure["rows"] < rows else ""
    return f"{score(figure['mean'])} {interval(figure)}{applied}" if figure else "–"


def _ladder(report: Mapping[str, Any]) -> str:
    if not report["ladder"]:
        return ""
    names = {(one["kind"], one["subject"]): subject_title(one) for one in report["evaluations"]}
    ends = [[names.get((step[f"{end}_kind"], step[end]), step[end]) for end in ("from", "to")] for step in report["ladder"]]
    rows = [
        [
            " → ".join(map(escaped, named)),
            escaped(step.get("stage", "")),
            signed(step["mean"]),
            f"[{signed(step['low'])}, {signed(step['high'])}]",
            str(step["better"]),
            str(step["worse"]),
            "yes" if certain(step) else "no",
        ]
        for named, step in zip(ends, report["ladder"], strict=True)
    ]
    metric = escaped(report["ladder"][0]["metric"])
    heads = ["step", "stage", f"{metric}, paired", "95 %", "rows better", "rows worse", "beyond chance"]
    lost = report.get("lost", {})
    firsts = [
        f"- {escaped(one['stage'])}, {escaped(one['to'])}: {code(one['first']['prompt'])}: "
        f"{code(one['first']['was'] or '')} became {code(one['first']['became'] or '')}"
        for one in lost.get("stages", ())
        if one.get("first")
    ]
    verdict = f"**{escaped(lost['sentence'])}**" if lost.get("sentence") else ""
    parts = ("## Where quality was lost", verdict, table(heads, rows, 2), "\n".join(firsts))
    return "\n\n".join(part for part in parts if part)


def _files(report: Mapping[str, Any]) -> str:
    rows = [
        [code(one["file"]), escaped(one["quant"]), size(one["bytes"]), f"`{one['sha256'][:16]}…`"] for one in report["models"]
    ]
    return f"## Files\n\n{table(['file', 'quant', 'size', 'sha256'], rows, 2)}" if rows else ""


def _choice(report: Mapping[str, Any]) -> str:
    choice = report.get("choice")
    if not choice:
        return ""
    rows = [[escaped(cell) for cell in cells(trial, choice["picked"])] for trial in choice["trials"]]
    told = escaped(choice["reason"]) if choice["reason"] else ""
    return "\n\n".join(part for part in ("## How the quantisation was chosen", told, table(HEADS, rows)) if part)


def _speeds(report: Mapping[str, Any]) -> str:
    rows = [
        [escaped(one["model"]), escaped(one["device"]), basis(one), speed(one["pp_tps"]), speed(one["tg_tps"])]
        for one in report["benchmarks"]
    ]
    heads = ["file", "device", "basis", "prefill tok/s", "decode tok/s"]
    shown = [table(heads, rows, 3)] if rows else []
    if report["plans"]:
        shown.append("\n".join(f"- {escaped(one['model'])}: {escaped(one['verdict'])}" for one in report["plans"]))
    shown += ["\n".join(f"- {escaped(line)}" for line in void)] if (void := void_lines(report)) else []
    shown += ["\n".join(f"- {escaped(line)}" for line in lines)] if (lines := trend_lines(report)) else []
    return "\n\n".join(["## Speed", *shown]) if shown else ""


def _training(report: Mapping[str, Any]) -> str:
    training = report.get("training")
    if not training:
        return ""
    facts = "\n".join(f"- {name}: {escaped(value)}" for name, value in training_facts(training))
    points = training_table(training)
    rows = [[count(step), *("–" if value is None else loss(value) for value in losses)] for step, *losses in points]
    what = training.get("loss_is", "loss")
    curve = table(["step", f"training {what}", f"validation {what}"], rows, 0) if rows else ""
    return "\n\n".join(part for part in ("## Training", training_sentence(training), facts, curve) if part)


def _gates(report: Mapping[str, Any]) -> str:
    rows = [
        [
            escaped(one["gate"]),
            escaped(one["model"]),
            figure_text(one["gate"], one["value"]),
            figure_text(one["gate"], one["bound"]),
            _MET[one["met"]] + (f": {escaped(one['reason'])}" if one.get("reason") else ""),
        ]
        for one in report["gates"]
    ]
    return f"## Gates\n\n{table(['gate', 'file', 'value', 'bound', 'met'], rows, 2)}" if rows else ""


def _wrong(report: Mapping[str, Any]) -> str:
    rows = report["wrong"]["rows"][:MAX_WRONG]
    if not rows:
        return ""
    lines = [f"## Wrong rows\n\n{len(rows)} of {report['wrong']['count']} shown; more in `report.html`."]
    names = student_titles(report)
    for row in rows:
        who = [", ".join(names.get(subject, subject) for subject in one["subjects"]) for one in row["answers"]]
        answers = [f"  - {escaped(name)}: {code(one['answer'] or '')}" for name, one in zip(who, row["answers"], strict=True)]
        expected = f"  - expected: {code(row['reference'] or '')}"
        lines.append("\n".join([f"- {code(row['prompt'])} ({escaped(set_title(row['set']))})", expected, *answers]))
    return "\n".join(lines[:1]) + "\n\n" + "\n".join(lines[1:])


def _facts(report: Mapping[str, Any]) -> str:
    rows = report["rows"]
    balance = " + ".join(f"{count(rows[fate])} {fate}" for fate in ("answered", "rejected", "failed", "pending"))
    facts = [f"- rows: {count(rows['in'])} in = {balance}"]
    if report["splits"]:
        facts.append("- split: " + ", ".join(f"{escaped(name)} {count(number)}" for name, number in report["splits"].items()))
    if report["parity"]:
        facts.append(f"- token parity: {report['parity']['rows']} rows, {report['parity']['mismatches']} mismatches")
    if report["seconds"]:
        facts.append(
            "- time: " + ", ".join(f"{escaped(stage)} {duration(value)}" for stage, value in report["seconds"].items())
        )
    versions = (f"{escaped(name)} {escaped(value)}" for name, value in report["versions"].items())
    facts.append("- versions: " + ", ".join(versions))
    facts += [f"- {escaped(note)}" for note in report["notes"]]
    return "## The run\n\n" + "\n".join(facts)
