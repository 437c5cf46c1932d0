"""The parameters that several commands share, with their shell completion."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from pillm.options import parse_assignments

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[F], F]


class _Place(click.Path):
    """A path to write to; one that leads nowhere is refused before any work is done for it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path: Path = super().convert(value, param, ctx)  # type: ignore[assignment]  # path_type says so
        try:
            path.stat()
        except FileNotFoundError:
            if path.is_symlink():
                self.fail(f"{path} is a link that leads nowhere. Choose another path.", param, ctx)
        except OSError as error:  # below a file, or through a circle of links
            self.fail(f"{path}: {error.strerror}. Choose another path.", param, ctx)
        return path


readable = partial(click.Path, exists=True, path_type=Path)
folder = partial(_Place, file_okay=False, path_type=Path)
new_file = partial(_Place, dir_okay=False, path_type=Path)


def backend_option(kind: str, flag: str | None = None, *, required: bool = True, more: str = "") -> Decorator[Any]:
    """Return the option that names an installed backend of a kind."""
    flag = flag or f"--{kind}"
    return click.option(
        flag, metavar="NAME", required=required, shell_complete=partial(_backend_names, kind),
        help=f"Which installed {kind}{more}; `pillm backends` lists them.",
    )  # fmt: skip


def assignments(kind: str) -> Decorator[Any]:
    """Return the repeated `-o name=value` option that configures the backend of a kind."""
    return click.option(
        "-o", "--option", "options", multiple=True, metavar="NAME=VALUE", shell_complete=partial(_option_names, kind),
        callback=lambda _ctx, _param, pairs: parse_assignments(pairs),
        help=f"An option of the {kind}, repeated; `pillm backends NAME` shows them all.",
    )  # fmt: skip


def out_folder(*, required: bool = True, help: str = "Where the result goes.") -> Decorator[Any]:
    """Return the --out option."""
    return click.option("--out", type=folder(), required=required, help=help)


def schema_in_prompt() -> Decorator[Any]:
    """Return the option for what teacher and student are told about JSON."""
    return click.option(
        "--schema-in-prompt", type=click.Choice(["none", "text"]),
        help="How the model is told about the JSON that a row asks for; the same for teacher and student.",
    )  # fmt: skip


def system_message() -> Decorator[Any]:
    """Return the option for a system message."""
    return click.option("--system", metavar="TEXT", help="A system message for every row that has none.")


def retry() -> Decorator[Any]:
    """Return the option for which rows a teacher is asked again."""
    return click.option(
        "--retry", default="", metavar="failed,rejected", callback=partial(_states, ("failed", "rejected")),
        help="Ask again for rows that ended so.",
    )  # fmt: skip


def only() -> Decorator[Any]:
    """Return the option for which rows alone a teacher is asked."""
    return click.option(
        "--only", default="", metavar="failed,rejected", callback=partial(_states, ("failed", "rejected", "pending")),
        help="Ask again for rows that ended so, and for no others.",
    )  # fmt: skip


def _states(known: tuple[str, ...], _ctx: click.Context, _param: click.Parameter, text: str) -> frozenset[str]:
    asked = frozenset(word.strip() for word in text.split(",") if word.strip())
    if wrong := asked.difference(known):
        raise click.BadParameter(f"{', '.join(sorted(wrong))} is not one of {', '.join(known)}")
    return asked


seed = click.option("--seed", type=int, default=0, show_default=True, help="The seed of everything random.")


def _backend_names(kind: str, _ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete backend names with their descriptions."""
    from pillm.cli.catalogue import summary
    from pillm.plugins import registry

    logging.disable()  # a broken plugin must not write into the person's command line
    provided = registry().provided(kind)
    names = [name for name in sorted(provided) if name.startswith(incomplete)]
    return [CompletionItem(name, help=summary(provided[name][0][1])) for name in names]


def _option_names(kind: str, ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the options of the backend that is named on the line."""
    from pillm.options import describe
    from pillm.plugins import registry

    logging.disable()
    claims = registry().provided(kind).get(str(ctx.params.get(kind)), [])
    if not claims or "=" in incomplete:
        return []
    return [
        CompletionItem(f"{row['name']}=", help=row["description"])
        for row in describe(claims[0][1])
        if row["name"].startswith(incomplete)
    ]
