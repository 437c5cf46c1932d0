"""`pillm card`: write the card of a run's files anew, and say under what terms they may be passed on."""

from __future__ import annotations

from pathlib import Path

import click

from pillm.cards.beside import README
from pillm.cards.card import CARD_FILE, card_to_json
from pillm.cli.choices import readable
from pillm.cli.terminal import Terminal, cli_command
from pillm.results import tell_again


@cli_command("card")
@click.argument("run", type=readable(file_okay=False))
@click.pass_obj
def command(terminal: Terminal, /, run: Path) -> None:
    """Write README.md and card.json of RUN's model files anew: scores, speeds, terms, lineage. RUN may be an export too."""
    folder, card = tell_again(run)
    lines = [f"{folder / README}", f"{folder / CARD_FILE}", card.terms]
    terminal.result(card_to_json(card), *lines)
