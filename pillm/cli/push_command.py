"""`pillm push`: publish a run's files, when its card allows it and the person said yes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import pillm
from pillm.artifacts import to_json
from pillm.cli.choices import assignments, backend_option, readable
from pillm.cli.sizes import size_text
from pillm.cli.terminal import Terminal, cli_command
from pillm.errors import MissingDependency, Unavailable

if TYPE_CHECKING:
    from rich.table import Table

    from pillm.hubs import Publisher, Release, Standing


@cli_command("push")
@click.argument("run", type=readable(file_okay=False))
@click.argument("repository")
@backend_option("publisher", required=False, more=" takes the files; hub by default")
@assignments("publisher")
@click.option("--public", is_flag=True, help="Let everybody see them; without it the repository is private.")
@click.option("--message", metavar="TEXT", help="The commit's message.")
@click.option("--tag", metavar="NAME", default="", help="Also give the commit this tag.")
@click.option("--yes", is_flag=True, help="Send them. Without it the command only says what it would do.")
@click.pass_obj
def command(terminal: Terminal, /, run: Path, repository: str, publisher: str | None, **chosen: Any) -> None:
    """Publish RUN's model files, card and sums in REPOSITORY, owner/name: private unless --public, and only with --yes.

    A run whose card.json does not allow it is refused with the card's reasons (exit 3). What is there already is not sent
    again, and every file is compared by its hash afterwards.
    """
    built = pillm.publisher(publisher or "hub", **chosen["options"])
    options = {name: chosen[name] for name in ("public", "message", "tag")}
    release = pillm.prepare_release(run, repository, **options)
    if not chosen["yes"]:
        _tell(terminal, release, built)
        return
    with terminal.progress("push") as progress:
        done = pillm.push(release, built, progress=progress)
    terminal.result(to_json(done), f"{done.address} ({'public' if done.public else 'private'}, commit {done.commit})")


def _tell(terminal: Terminal, release: Release, publisher: Publisher) -> None:
    """Say what would go where; where the place cannot be asked, that is said too and is no failure yet."""
    standing, unknown = None, ""
    try:
        standing = publisher.look(release)
    except (Unavailable, MissingDependency) as error:
        unknown = str(error)
    files = [
        {"name": file.name, "bytes": file.bytes, "sha256": file.sha256, "path": str(file.path),
         **({"state": standing.states[file.name]} if standing else {})}
        for file in release.files
    ]  # fmt: skip
    document = {
        "repository": release.repository,
        "public": release.public,
        "exists": standing.exists if standing else None,
        "files": files,
        "sent": False,
    }
    place = f"{release.repository} ({'public' if release.public else 'private'}{'' if standing is None else _there(standing)})"
    total = size_text(sum(file.bytes for file in release.files))
    lines = [_table(release, standing), "", f"{len(release.files)} files, {total}, would go to {place}."]
    lines += [f"What is there is not known yet: {unknown}"] if unknown else []
    terminal.result(document, *lines, "Nothing was sent. Say --yes to send them.")


def _there(standing: Standing) -> str:
    return ", there already" if standing.exists else ", to be made"


def _table(release: Release, standing: Standing | None) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("file", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("there", no_wrap=True)
    table.add_column("sha256", no_wrap=True)
    for file in release.files:
        state = standing.states[file.name] if standing else "?"
        table.add_row(file.name, size_text(file.bytes), state, file.sha256[:12])
    return table
