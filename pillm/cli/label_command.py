"""`pillm label`: let a teacher answer prompts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

import pillm
from pillm.choosing import Choosing
from pillm.cli.choices import assignments, backend_option, only, out_folder, readable, retry, schema_in_prompt, system_message
from pillm.cli.probing import check_words, show_probe
from pillm.cli.promptmaking import prompts_or_table, rows_to_label, table_account, task_option, teacher_for
from pillm.cli.targets import name_and_options
from pillm.cli.terminal import Terminal, cli_command
from pillm.contract import Contract
from pillm.errors import BackendError
from pillm.judging import Judge
from pillm.reasoning import reasoning_policy
from pillm.stages.labelling import Forecast, Labelling, forecast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pillm.backends import Filter
    from pillm.stages.labelling import Labelled


CHOICES = get_args(Choosing)
_PLAIN = ("samples", "choose", "repair", "limit", "only", "reuse", "shard", "max_cost", "max_tokens", "prices")


def _shard(_ctx: click.Context, _param: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal()):
        raise click.BadParameter("write it as 1/4: the first of four parts")
    return int(part), int(parts)


@cli_command("label")
@click.argument("prompts", type=prompts_or_table)
@task_option()
@backend_option("teacher")
@assignments("teacher")
@out_folder(help="Where labelled.jsonl and the store of answers go.")
@click.option("--limit", type=click.IntRange(1), help="Label only the first N rows, to try things out.")
@click.option("--attempts", type=click.IntRange(1, 20), default=1, show_default=True, help="Answers tried until one fits.")
@click.option(
    "--samples", type=click.IntRange(1, 64), default=1, show_default=True, help="Answers kept per row; one is chosen."
)
@click.option("--choose", type=click.Choice(CHOICES), default="first", show_default=True, help="How one of them is chosen.")
@click.option(
    "--judge", metavar="NAME", help="The teacher that compares answers, as NAME:option=value,...; with --choose judge."
)
@click.option(
    "--repair", type=click.IntRange(0, 5), default=0, help="Show a refused answer and its error to the teacher so often."
)
@click.option(
    "--reasoning", default="strip", show_default=True, metavar="keep|strip|TOKENS", help="What becomes of its reasoning."
)
@click.option("--dry-run", is_flag=True, help="Say what would be asked; ask and write nothing.")
@click.option("--probe", type=click.IntRange(1), metavar="N", help="Only ask and score a sample of N rows: is it worth it?")
@click.option(
    "--student", metavar="MODEL", help="The untrained base that --probe scores too: a folder, a shipped model, a hub's."
)
@click.option("--relabel", is_flag=True, help="Ask the teacher also for rows that arrive answered.")
@retry()
@only()
@click.option("--reuse", type=readable(file_okay=False), multiple=True, help="A folder of another run whose answers serve too.")
@click.option("--shard", metavar="I/N", callback=_shard, help="Only the I-th of N parts of the rows; `data merge` joins them.")
@click.option("--max-cost", type=click.FloatRange(0), metavar="DOLLARS", help="The most to spend, all runs on --out together.")
@click.option("--max-tokens", type=click.IntRange(0), help="The most tokens to take, all runs on --out together.")
@click.option("--prices", type=readable(), help="A prices.yaml with the prices of models.")
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="NAME",
    help="A row filter as NAME:option=value,..., applied before anything is sent.",
)
@schema_in_prompt()
@system_message()
@click.pass_obj
def command(terminal: Terminal, /, prompts: Path, teacher: str, options: dict[str, Any], out: Path, **chosen: Any) -> None:
    """Answer the rows of PROMPTS (JSONL, or a table with --task) with a teacher. Stored answers are never asked again."""
    check_words(chosen)
    rows = rows_to_label(terminal, prompts, chosen["task"], relabel=chosen["relabel"])
    built = teacher_for(rows, teacher, options)
    settings = Labelling(
        attempts=chosen["attempts"],
        contract=Contract(schema_in_prompt=chosen["schema_in_prompt"] or "none", system=chosen["system"]),
        filters=tuple(_filters(chosen["filters"])),
        retry=chosen["retry"] | (chosen["only"] - {"pending"}),
        judge=_judge(chosen["judge"]),
        reasoning=reasoning_policy(chosen["reasoning"]),
        **{name: chosen[name] for name in _PLAIN},
    )
    if chosen["probe"] is not None:
        show_probe(terminal, rows, built, out, settings, chosen)
        return
    if chosen["dry_run"]:
        expected = forecast(rows, built, out, settings)
        terminal.result(asdict(expected) | table_account(rows), _sentence(expected))
        return
    with terminal.progress("label") as progress:
        labelled = pillm.label(rows, built, out, settings=settings, progress=progress)
    _show(terminal, labelled, out, table_account(rows))
    if labelled.transient:
        raise pillm.Unavailable(
            f"{labelled.transient} rows got no answer; {out}/failed.jsonl says why. The other answers are stored, and the "
            "same command asks only for these again."
        )


def _judge(text: str | None) -> Judge | None:
    if text is None:
        return None
    name, options = name_and_options(text)
    return Judge(teacher=pillm.teacher(name, **options))


def _filters(texts: Iterable[str]) -> Iterator[Filter]:
    for name, options in map(name_and_options, texts):
        yield pillm.filter_(name, **options)


def _sentence(expected: Forecast) -> str:
    tokens, cost = "an unknown number of tokens", "an unknown cost" if expected.cost is None else f"${expected.cost:.4f}"
    if expected.prompt_tokens is not None and expected.completion_tokens is not None:
        tokens = f"about {expected.prompt_tokens:,} prompt and {expected.completion_tokens:,} completion tokens"
    failed = f"{expected.failed} failed for good (--retry failed asks again), " if expected.failed else ""
    waiting = f"{expected.in_batches} wait in batches with the provider, " if expected.in_batches else ""
    most = f" in at most {expected.calls} calls" if expected.calls > expected.to_ask else ""
    return (
        f"{expected.rows} rows: {expected.given} arrive answered, {expected.stored} answers are stored, {failed}{waiting}"
        f"{expected.to_ask} would be asked{most} ({tokens}, {cost}). Nothing was asked or written."
    )


def _show(terminal: Terminal, labelled: Labelled, out: Path, table: dict[str, Any]) -> None:
    counts = labelled.counts
    document = {
        "rows": counts.to_json(),
        "balanced": counts.balanced,
        "labelled": str(labelled.path),
        "up_to_date": labelled.up_to_date,
    }
    terminal.result(document | table, f"{counts}", f"{labelled.path}")
    if counts.rejected:
        terminal.say(f"{counts.rejected} answers were rejected: see {out / 'rejected.jsonl'}. Ask again: --retry rejected")
    if counts.failed:
        terminal.say(f"{counts.failed} rows failed: see {out / 'failed.jsonl'}. Ask again: --retry failed")
    if not counts.answered and not labelled.transient:
        raise BackendError("no row was answered, so there is nothing to train on.")
