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
from pillm.stages.labelling import LABELLED, contract_beside
from pillm.stages.training import Training, as_labelled


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
    """Train a student on LABELLED: a file of answered rows, or the folder that `pillm label` wrote.

    What `label` told the teacher is told the student: its contract.json decides, and a contradicting option is refused.
    """
    built = pillm.trainer(trainer, **options)
    rows = labelled / LABELLED if labelled.is_dir() else labelled
    examples = pillm.read_examples(rows)
    probes = tuple(replace(example.prompt, reference=None, given=None) for example in examples)
    settings = Training(contract=_contract(rows, chosen), seed=chosen["seed"], probes=probes)
    with terminal.progress("train") as progress:
        checkpoint = pillm.train(examples, built, out, settings=settings, progress=progress)
    terminal.result({"checkpoint": str(checkpoint.path), "rows": len(examples)}, f"{checkpoint.path}")


def _contract(rows: Path, chosen: dict[str, Any]) -> Contract:
    asked = {name: chosen[name] for name in ("schema_in_prompt", "system") if chosen[name] is not None}
    recorded = contract_beside(rows)
    return Contract(**(asked if recorded is None else as_labelled(recorded, asked, rows)))
