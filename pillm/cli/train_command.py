"""`pillm train`: teach a student."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

import pillm
from pillm.cli.choices import assignments, backend_option, out_folder, readable, schema_in_prompt, seed, system_message
from pillm.cli.terminal import Terminal, cli_command
from pillm.contract import Contract
from pillm.stages.labelling import LABELLED
from pillm.stages.training import Training


@cli_command("train")
@click.argument("labelled", type=readable())
@backend_option("trainer")
@assignments("trainer")
@out_folder(help="Where the checkpoint goes, a Hugging Face model folder.")
@seed
@schema_in_prompt()
@system_message()
@click.pass_obj
def command(terminal: Terminal, /, labelled: Path, trainer: str, options: dict[str, Any], out: Path, **chosen: Any) -> None:
    """Train a student on LABELLED: a file of answered rows, or the folder that `pillm label` wrote."""
    built = pillm.trainer(trainer, **options)
    examples = pillm.read_examples(labelled / LABELLED if labelled.is_dir() else labelled)
    probes = tuple(replace(example.prompt, reference=None, given=None) for example in examples)
    contract = Contract(schema_in_prompt=chosen["schema_in_prompt"] or "none", system=chosen["system"])
    settings = Training(contract=contract, seed=chosen["seed"], probes=probes)
    with terminal.progress("train") as progress:
        checkpoint = pillm.train(examples, built, out, settings=settings, progress=progress)
    terminal.result({"checkpoint": str(checkpoint.path), "rows": len(examples)}, f"{checkpoint.path}")
