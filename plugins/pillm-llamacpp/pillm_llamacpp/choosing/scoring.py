"""The task's own score of a file: how well it answers validation rows, by the task's metrics."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pillm
from pillm_llamacpp.measuring.texts import Texts, readable, spread
from pillm_llamacpp.runner import LocalRunner

MOST_ROWS, FEWEST_ROWS = 200, 50
UNKNOWN = ("schema",)
"""Metrics that cannot be scored here: what a trainer records of a row has no schema, and every JSON would satisfy none."""
ROOM, THOUGHT = 64, 1024
"""Tokens that an answer may have beyond twice those of the longest reference; the second where the student may think."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The rows that files are asked, what an answer is scored by, and after how many tokens it is cut."""

    rows: tuple[pillm.Prompt, ...] = ()
    metrics: tuple[pillm.Metric, ...] = ()
    """The first that applies decides."""
    max_tokens: int = 256

    def told(self) -> list[Any]:
        """Return what scores depend on beside the file, as JSON."""
        rows = [
            [row.id, row.messages, row.tools, row.schema is None, row.reference and row.reference.message] for row in self.rows
        ]
        return [rows, [metric.identity() for metric in self.metrics], self.max_tokens]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a file scores: means with intervals, each row's score, and how many answers were cut."""

    figures: Mapping[str, pillm.Figure]
    rows: Mapping[str, Mapping[str, float]]
    """Metric -> row -> score."""
    cut: int

    def main(self, metrics: Iterable[pillm.Metric]) -> str | None:
        """Return the first of the metrics that applied to a row."""
        return next((metric.name for metric in metrics if metric.name in self.figures), None)


def scored_rows(probes: Iterable[pillm.Probe], texts: Collection[str], most: int = MOST_ROWS) -> list[pillm.Prompt]:
    """Return the conversations among `texts` that end with an answer, as rows whose reference it is: so many, evenly spread.

    The rows that a training was validated on, and no others: what is held out for the report stays unseen.
    """
    wanted, found = set(texts), []
    for probe in probes:
        if probe.text in wanted and len(probe.messages) > 1 and probe.messages[-1].get("role") == "assistant":
            found.append(probe)
            wanted.discard(probe.text)
    return [_row(found[index]) for index in spread(len(found), most)]


def task_of(
    checkpoint: pillm.Checkpoint, texts: Texts, metrics: tuple[pillm.Metric, ...], model_bytes: int, most: int | None
) -> Task:
    """Return what files of a checkpoint are asked: rows of its whole validation side, fewer for a large model.

    They are not those that divergences are measured on: an answer costs other time than a reading.
    """
    counts = [answer for answer, _ in texts.lengths()]
    answer = max(1.0, sum(counts) / max(1, len(counts)))
    count = min(MOST_ROWS, max(FEWEST_ROWS, int(readable(model_bytes) / answer)), most or MOST_ROWS)
    rows = scored_rows(checkpoint.probes(), texts.validation, count)
    longest = max((_reference_tokens(row) for row in rows), default=0)
    if all(span is not None for span in texts.answers) and counts:  # the tokenizer's own count, which the trainer made
        longest = max(counts)
    return Task(
        rows=tuple(rows),
        metrics=tuple(metric for metric in metrics if metric.name not in UNKNOWN),
        max_tokens=2 * longest + (THOUGHT if _thinks(checkpoint, rows) else ROOM),
    )


def _reference_tokens(row: pillm.Prompt) -> int:
    """Return how many tokens a reference has at the most: each has a byte at least."""
    return len(json.dumps(row.reference.message, ensure_ascii=False).encode()) if row.reference else 0


def _thinks(checkpoint: pillm.Checkpoint, rows: Sequence[pillm.Prompt]) -> bool:
    """Say whether a student may think before it answers: its template has room for that, or its references do it."""
    said = " ".join([str(checkpoint.contract.get("template") or ""), *(row.reference.content for row in rows if row.reference)])
    return any(word in said.lower() for word in ("<think", "reasoning", "_of_thought", "<|channel|>"))


def _row(probe: pillm.Probe) -> pillm.Prompt:
    answer = probe.messages[-1]
    # an answer that is JSON is compared as a value: spaces and the order of keys say nothing
    schema: dict[str, Any] | None = {} if _is_json(str(answer.get("content") or "")) else None
    return pillm.Prompt(
        id=probe.id, messages=probe.messages[:-1], tools=probe.tools, schema=schema, reference=pillm.Reference(message=answer)
    )


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), (dict, list))
    except (ValueError, RecursionError):
        return False


def score(file: Path, task: Task, *, threads: int | None) -> Score:
    """Return what a file scores, greedily; an answer that is cut is scored as it is, and counted."""
    model = pillm.ModelFile(path=file, quant="", bytes=file.stat().st_size, sha256="")
    runner = LocalRunner(threads=threads, max_tokens=task.max_tokens)
    with TemporaryDirectory(prefix="pillm-") as folder, runner.open(model) as session:
        found = pillm.evaluate(task.rows, session, task.metrics, out=folder)
        with (Path(folder) / "predictions.jsonl").open(encoding="utf-8") as lines:
            said = [json.loads(line) for line in lines]
    rows = {name: {row["id"]: row["scores"][name] for row in said if name in row["scores"]} for name in found.metrics}
    return Score(figures=found.metrics, rows=rows, cut=found.cut)
