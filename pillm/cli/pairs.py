"""`pillm data pairs`: preference pairs from the samples of a labelling folder."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pillm.answers import AnswerStore
from pillm.cli.choices import new_file
from pillm.cli.terminal import Command, Terminal
from pillm.errors import DataError
from pillm.stages.candidates import Reading, contract_of, folder_candidates, with_agreement
from pillm.stages.labelled import STORE
from pillm.stages.pairs import PAIR_FORMATS, PairFormat, dataset_info, write_pairs
from pillm.store import read_manifest

if TYPE_CHECKING:
    from pillm.records import JSONObject


@click.command("pairs", cls=Command)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=new_file(), required=True, help="The JSONL file of pairs.")
@click.option("--format", "form", type=click.Choice(PAIR_FORMATS), default="trl", show_default=True,
              help="Whose field names: TRL, OpenAI, or LLaMA-Factory's alpaca and sharegpt.")  # fmt: skip
@click.option("--by", type=click.Choice(["validation", "majority", "judge"]), default="validation", show_default=True,
              help="What makes an answer better: being accepted, or also what most say, or a judge.")  # fmt: skip
@click.option("--per-prompt", type=click.IntRange(1), default=1, show_default=True, help="The most pairs of one prompt.")
@click.option("--min-margin", type=click.FloatRange(0), default=0.0, show_default=True,
              help="How much better the chosen of two accepted answers must be scored, of 1.")  # fmt: skip
@click.pass_obj
def pairs(
    terminal: Terminal, /, folder: Path, out: Path, form: PairFormat, by: str, per_prompt: int, min_margin: float
) -> None:
    """Write chosen and rejected answers of FOLDER, which `pillm label` made with several samples or attempts per row."""
    reading = Reading(identity=_identity(folder), contract=contract_of(folder))
    with AnswerStore(folder / STORE, read_only=True) as store:
        rows = folder_candidates(folder, replace(reading, score=store.judged_score) if by == "judge" else reading)
        if by == "majority":
            rows = ((prompt, with_agreement(prompt, found)) for prompt, found in rows)
        counts = write_pairs(rows, out, form, per_prompt=per_prompt, min_margin=min_margin)
    info = dataset_info(out.name, form)
    document = {**asdict(counts), "file": str(out), **({"dataset_info": {out.stem: info}} if info else {})}
    left_out = f"; {counts.unwritable} pairs have no place in {form} rows" if counts.unwritable else ""
    terminal.result(document, f"{counts.pairs} pairs from {counts.paired} of {counts.prompts} prompts in {out}{left_out}")


def _identity(folder: Path) -> JSONObject:
    """Return what the teacher of a folder was; raise DataError where its manifest does not say."""
    manifest = read_manifest(folder)
    made: JSONObject | None = manifest["results"].get("teacher") if manifest and manifest.get("verb") == "label" else None
    if made is None:
        raise DataError(
            f"{folder} does not say which teacher answered: its manifest is missing or damaged. "
            "Run `pillm label` on it again; nothing stored is asked again."
        )
    return made
