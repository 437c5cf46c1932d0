"""Put what makes and scores, trainers, exporters, metrics and filters, to work and hold it to the protocol."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path

from pillm.artifacts import TRAINING_FILE, Checkpoint, ModelFile, sha256_file, sha256_folder
from pillm.backends import Exporter, Filter, Metric, Rows, Trainer, TrainingData
from pillm.examination import Finding
from pillm.progress import Progress
from pillm.records import Answer, Example, Prompt
from pillm.report.trainingfile import read_training
from pillm.rows import example_to_row, write_rows
from pillm.testing.declarations import check_ready, require
from pillm.testing.samples import sample_examples


def check_trainer(
    trainer: Trainer, folder: Path, examples: Sequence[Example] | None = None, *, resume: bool = True
) -> Checkpoint:
    """Train on a few rows in an empty folder, check what was written and return it.

    With `resume` it trains a second time into what the first attempt left. Raises ConformanceError.
    """
    check_ready(trainer)
    where = f"trainer {trainer.name!r}"
    rows = list(examples or sample_examples())
    source, out = folder / "rows.jsonl", folder / "student"
    out.mkdir(parents=True)
    write_rows(source, (example_to_row(example) for example in rows))
    before = sha256_file(source)
    data = TrainingData(
        train=Rows(source), validation=Rows(source), calibration=Rows(source), seed=7,
        probes=tuple(example.prompt for example in rows),
    )  # fmt: skip
    for _ in range(2 if resume else 1):
        trainer.train(data, out, Progress("train"))
    require(sha256_file(source) == before, f"{where} changed the rows it was given.")
    strays = sorted(path.name for path in folder.iterdir() if path not in (source, out))
    require(not strays, f"{where} wrote outside its folder: {', '.join(strays)}.")
    checkpoint = Checkpoint(path=out)
    require(checkpoint.config, f"{where} wrote an empty config.json.")
    require(checkpoint.contract.get("hash"), f"{where} wrote no contract.json; save data.contract.with_student(...).")
    probed = {probe.id: probe.ids for probe in checkpoint.probes()}
    require(set(probed) == {row.prompt.id for row in rows}, f"{where} must write one line of probes.jsonl per probe.")
    require(all(probed.values()), f"{where} wrote probes without token ids.")
    require(checkpoint.calibration(), f"{where} wrote no calibration.jsonl.")
    recorded = not (out / TRAINING_FILE).exists() or read_training(out)
    require(bool(recorded), f"{where} wrote a {TRAINING_FILE} in which the report finds nothing it knows.")
    return checkpoint


def check_exporter(exporter: Exporter, checkpoint: Checkpoint, folder: Path) -> list[ModelFile]:
    """Export a checkpoint into an empty folder, check the files and return them; raise ConformanceError."""
    check_ready(exporter)
    where = f"exporter {exporter.name!r}"
    folder.mkdir(parents=True, exist_ok=True)
    before = sha256_folder(checkpoint.path)
    found = list(exporter.examine(checkpoint))
    require(all(isinstance(one, Finding) for one in found), f"{where} must yield Findings of what it examines.")
    wrong = [one.detail for one in found if one.wrong]
    require(not wrong, f"{where} would refuse in a run what it is given to export: {wrong}.")
    files = []
    for model in exporter.export(checkpoint, folder, Progress("export")):
        require(isinstance(model, ModelFile), f"{where} must yield ModelFiles, not {model!r}.")
        require(
            model.path.parent == folder and model.path.is_file(),
            f"{where} wrote {model.path}, which is not a file of {folder}.",
        )
        require(model.path.stat().st_size == model.bytes > 0, f"{where} gave {model.label} another size than it has.")
        require(
            sha256_file(model.path) == model.sha256,
            f"{where} yielded {model.label} before it was complete: its sha256 differs.",
        )
        require(model.quant, f"{where} gave {model.label} no quantisation.")
        files.append(model)
    require(files, f"{where} exported nothing.")
    require(len({model.path for model in files}) == len(files), f"{where} gave two models one file.")
    require(sha256_folder(checkpoint.path) == before, f"{where} changed the checkpoint.")
    for model in files:
        require(sha256_file(model.path) == model.sha256, f"{where} changed {model.label} after it was yielded.")
    return files


def check_metric(metric: Metric, examples: Sequence[Example] | None = None) -> list[float | None]:
    """Score true and hostile answers; return the scores of the true ones. Raises ConformanceError."""
    check_ready(metric)
    where = f"metric {metric.name!r}"
    scores = []
    for example in examples or sample_examples():
        before = copy.deepcopy(example.prompt)
        for text in (example.answer.content, "", "{", "[[[[", '{"room": NaN}', "\x00\U0001f600", "no" * 1000):
            score = metric.score(example.prompt, Answer(text))
            number = isinstance(score, int | float) and math.isfinite(score)
            require(score is None or number, f"{where} must score a finite number or None, not {score!r}.")
            require(score == metric.score(example.prompt, Answer(text)), f"{where} scores one answer in two ways.")
            untrue = score is not None and not metric.applies(example.prompt)
            require(not untrue, f"{where} scored row {example.prompt.id!r}, to which applies() says that it does not apply.")
        require(example.prompt == before, f"{where} changed the prompt.")
        scores.append(metric.score(example.prompt, example.answer))
    return scores


def check_filter(row_filter: Filter, prompts: Sequence[Prompt] | None = None) -> list[Prompt | None]:
    """Pass prompts through a filter; return what became of them. Raises ConformanceError."""
    check_ready(row_filter)
    where = f"filter {row_filter.name!r}"
    results = []
    for prompt in [example.prompt for example in sample_examples()] if prompts is None else prompts:
        before = copy.deepcopy(prompt)
        result = row_filter.apply(prompt)
        require(result is None or isinstance(result, Prompt), f"{where} must give a Prompt or None, not {result!r}.")
        require(result is None or result.id == prompt.id, f"{where} changed the id of row {prompt.id!r}.")
        require(prompt == before, f"{where} changed the prompt in place; return a new one.")
        results.append(result)
    return results
