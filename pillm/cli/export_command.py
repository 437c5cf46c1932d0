"""`pillm export`: pack a checkpoint into model files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import pillm
from pillm.artifacts import to_json
from pillm.cli.choices import assignments, backend_option, out_folder
from pillm.cli.targets import model_of
from pillm.cli.terminal import Terminal, cli_command
from pillm.errors import ConfigError
from pillm.options import parse_assignments

if TYPE_CHECKING:
    from rich.table import Table

    from pillm.artifacts import ModelFile
    from pillm.records import JSONObject


def _told(_ctx: click.Context, _param: click.Parameter, pairs: tuple[str, ...]) -> JSONObject:
    from pillm.recipefile import read_terms

    said = parse_assignments(pairs)
    accepted = {"accepted": str(said["accepted"]).split(",")} if isinstance(said.get("accepted"), str) else {}
    return read_terms(said | accepted).told().to_json()


@cli_command("export")
@click.argument("checkpoint", type=click.Path(path_type=str))
@backend_option("exporter")
@assignments("exporter")
@click.option(
    "--terms",
    multiple=True,
    metavar="NAME=LICENCE",
    callback=_told,
    help="What cards and rows do not say, repeated: license, base, teacher, data, accepted; as `terms` in a recipe.",
)
@out_folder(help="Where the model files go.")
@click.pass_obj
def command(terminal: Terminal, /, checkpoint: str, exporter: str, options: dict[str, Any], out: Path, **chosen: Any) -> None:
    """Pack CHECKPOINT, a model's or an adapter's folder or owner/name[@revision] of a hub, into files for devices.

    Teacher, base and data are named in its card as far as their own cards and rows say what they are and under what terms.
    """
    built = pillm.exporter(exporter, **options)
    found = model_of(checkpoint, terminal)
    if not isinstance(found, pillm.Checkpoint):
        raise ConfigError(f"{checkpoint} is a file, and an export starts from a model folder. Give the one it was made from.")
    with terminal.progress("export") as progress:
        models = pillm.export(replace(found, told=chosen["terms"] or None), built, out, progress=progress)
    terminal.result([to_json(model) for model in models], models_table(models), *_choice(out))


def _choice(out: Path) -> list[Table | str]:
    """Return how the quantisation was chosen, where the exporter chose it."""
    from pillm.cli.choice_table import choice_table
    from pillm.report.choicefile import read_choice

    choice = read_choice(out)
    return ["", choice_table(choice), *(["", choice["reason"]] if choice["reason"] else [])] if choice else []


def models_table(models: list[ModelFile]) -> Table:
    """Return the table of exported files."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("file", overflow="fold")
    table.add_column("quant", no_wrap=True)
    table.add_column("MB", justify="right", no_wrap=True)
    table.add_column("parity", justify="right", no_wrap=True)
    table.add_column("checkpoint", justify="right", no_wrap=True)
    table.add_column("KLD", justify="right", no_wrap=True)
    table.add_column("top-1", justify="right", no_wrap=True)
    table.add_column("sha256", no_wrap=True)
    for model in models:
        parity = f"{model.parity.rows - model.parity.mismatches}/{model.parity.rows}" if model.parity else "-"
        size = f"{model.bytes / 1e6:,.1f}"
        table.add_row(str(model.path), model.quant, size, parity, _agreement(model), *_divergence(model), model.sha256[:12])
    return table


def _agreement(model: ModelFile) -> str:
    """Return how often a file and its checkpoint choose the same token, or how alike an encoder's embeddings are at least."""
    near = model.agreement
    if near is None:
        return "-"
    return f"{near.top1:.1%}" if near.top1 is not None else f"cos {near.cosine or 0:.4f}"


def _divergence(model: ModelFile) -> tuple[str, str]:
    """Return the divergence from the unquantised file, and how often both choose the same token, in words."""
    if model.divergence is None:
        return "-", "-"
    return f"{model.divergence.mean:.2g}" + (" i" if model.imatrix else ""), f"{model.divergence.top1:.2%}"
