"""`pillm train`: teach a student."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

import pillm
from pillm.artifacts import to_json
from pillm.cli.choices import assignments, backend_option, out_folder, readable, schema_in_prompt, seed, system_message
from pillm.cli.progress_bar import clock
from pillm.cli.terminal import Terminal, cli_command
from pillm.contract import Contract
from pillm.forecasts import TrainingForecast
from pillm.stages.labelling import LABELLED, contract_beside
from pillm.stages.training import Training, as_labelled, forecast


@cli_command("train")
@click.argument("labelled", type=readable())
@backend_option("trainer")
@assignments("trainer")
@out_folder(help="Where the checkpoint goes, a Hugging Face model folder.")
@seed
@schema_in_prompt()
@system_message()
@click.option("--dry-run", is_flag=True, help="Say what it would take, in time and memory; train and write nothing.")
@click.option("--print-launch", is_flag=True, help="Print how further processes would be started; train and write nothing.")
@click.pass_obj
def command(terminal: Terminal, /, labelled: Path, trainer: str, options: dict[str, Any], out: Path, **chosen: Any) -> None:
    """Train a student on LABELLED: a file of answered rows, or the folder that `pillm label` wrote.

    What `label` told the teacher is told the student: its contract.json decides, and a contradicting option is refused.
    """
    built = pillm.trainer(trainer, **options)
    if chosen["print_launch"]:
        plan = built.launch_plan()
        terminal.result({"launch": plan}, plan or f"Trainer {trainer!r} starts no further processes with these options.")
        return
    rows = labelled / LABELLED if labelled.is_dir() else labelled
    examples = pillm.Rows(rows)
    if not len(examples):
        raise pillm.DataError(f"{rows} holds no rows, so there is nothing to train on. Label some first: pillm label ...")
    probes = tuple(replace(example.prompt, reference=None, given=None, rejected=None) for example in examples)
    settings = Training(contract=_contract(rows, chosen), seed=chosen["seed"], probes=probes)
    if chosen["dry_run"]:
        expected = forecast(examples, built, settings)
        document = None if expected is None else {**to_json(expected), "fits": expected.fits}
        terminal.result({"forecast": document}, _told(built, len(examples), expected))
        return
    with terminal.progress("train") as progress:
        checkpoint = pillm.train(examples, built, out, settings=settings, progress=progress)
    terminal.result({"checkpoint": str(checkpoint.path), "rows": len(examples)}, f"{checkpoint.path}")


def _told(trainer: pillm.Trainer, rows: int, expected: TrainingForecast | None) -> str:
    if expected is None:
        why = "it makes no forecasts, or its student is not on this machine yet"
        return f"{rows:,} rows. What trainer {trainer.name!r} would take is not known: {why}. Nothing was written."
    took = "" if expected.seconds is None else f"about {clock(expected.seconds)} and "
    advice = f" {expected.advice}" if expected.advice else ""
    return (
        f"{expected.rows:,} of {rows:,} rows, {expected.steps:,} steps, {expected.tokens:,} tokens: {took}"
        f"{expected.memory}.{advice} Nothing was trained or written."
    )


def _contract(rows: Path, chosen: dict[str, Any]) -> Contract:
    asked = {name: chosen[name] for name in ("schema_in_prompt", "system") if chosen[name] is not None}
    recorded = contract_beside(rows)
    return Contract(**(asked if recorded is None else as_labelled(recorded, asked, rows)))
