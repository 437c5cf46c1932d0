"""`pillm data prompts`, `pillm data expand` and `pillm label --task`: where prompts come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import pillm
from pillm.cli.choices import assignments, backend_option, new_file, out_folder, readable, retry
from pillm.cli.terminal import Command, Terminal
from pillm.errors import ConfigError
from pillm.files import replacing
from pillm.rows import PromptFile, write_rows
from pillm.tasks import TaskCounts, TaskPrompts, native_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pillm.backends import Teacher
    from pillm.cli.choices import Decorator
    from pillm.records import JSONObject, Prompt
    from pillm.tasks import Task


@click.command("prompts", cls=Command)
@click.argument("task", type=readable(dir_okay=False))
@click.argument("table")
@click.option("--out", type=new_file(), required=True, help="The JSONL file to write.")
@click.option("--limit", type=click.IntRange(1), help="Stop after N prompts, to try things out.")
@click.pass_obj
def prompts(terminal: Terminal, /, task: Path, table: str, out: Path, limit: int | None) -> None:
    """Make prompts of TABLE as TASK (YAML) says: a CSV or JSONL file, or hf://owner/name?split=train[:2000]."""
    made, rows, counts = pillm.load_task(task), pillm.read_table(table), TaskCounts()
    if out.exists() and Path(table).exists() and out.samefile(table):
        raise ConfigError(f"--out {out} is the table itself. Choose another file.")
    stream = _first(pillm.prompts_of(made, rows, counts), limit)
    with terminal.progress("prompts") as progress, replacing(out) as part:
        progress.start(None, "prompts")
        write_rows(part, (native_row(prompt) for prompt in _watched(stream, progress)))
        progress.finish(f"{counts.prompts} prompts")
    told, *left_out = _told(counts, rows)
    terminal.result(_account(made, rows, counts) | {"file": str(out)}, f"{told} in {out}", *left_out)
    terminal.say(_next(made, out))


def _account(task: Task, table: pillm.Table, counts: TaskCounts) -> JSONObject:
    return {
        "rows": counts.rows, "items": counts.items, "prompts": counts.prompts, "left_out": dict(counts.left_out),
        "balanced": counts.balanced, "source": table.source, "generation": task.generation,
    }  # fmt: skip


def _told(counts: TaskCounts, table: pillm.Table) -> list[str]:
    left_out = [f"{number:6} left out: {reason}" for reason, number in sorted(counts.left_out.items())]
    return [f"{counts.prompts} prompts of {counts.items} items of {table.source}", *left_out]


def _first(stream: Iterator[Prompt], limit: int | None) -> Iterator[Prompt]:
    for number, prompt in enumerate(stream, 1):
        yield prompt
        if number == limit:
            return


def _watched(stream: Iterator[Prompt], progress: pillm.Progress) -> Iterator[Prompt]:
    for prompt in stream:
        progress.advance()
        yield prompt


def _next(task: Task, out: Path) -> str:
    options = "".join(f" -o {name}={_word(value)}" for name, value in task.generation.items())
    return f"Label them as the task wants: pillm label {out} --teacher NAME{options} --out FOLDER"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


class PromptsOrTable(click.Path):
    """A file of prompts; where --task is given a table, which may also be an address."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or with --task the text: `read_table` says what is wrong with it."""
        text = str(value)
        if ctx is not None and isinstance(ctx.params.get("task"), Path):
            return text
        if "://" in text or Path(text).suffix.casefold() in (".csv", ".tsv"):
            self.fail(f"{text} is a table. Say with --task TASK.yaml how its rows become prompts.", param, ctx)
        return super().convert(value, param, ctx)


prompts_or_table = PromptsOrTable(exists=True, dir_okay=False, path_type=Path)


def task_option() -> Decorator[Any]:
    """Return the option for the task that makes prompts of a table; it is read before the table."""
    return click.option(
        "--task", type=readable(dir_okay=False), is_eager=True, metavar="TASK.yaml",
        help="PROMPTS is a table (CSV, JSONL, hf://...): make its prompts as this task file says.",
    )  # fmt: skip


def rows_to_label(terminal: Terminal, source: Path | str, task: Path | None, *, relabel: bool) -> PromptFile | TaskPrompts:
    """Return the prompts of a file, or with a task those of a table, to be iterated over as often as needed.

    What became of the table's rows is said at the end of the first pass, before anything is asked.
    """
    if task is None:
        return PromptFile(source, relabel=relabel)
    made, table = pillm.load_task(task), pillm.read_table(source)
    return TaskPrompts(made, table, relabel=relabel, heard=lambda counts: terminal.say("\n".join(_told(counts, table))))


def teacher_for(rows: Iterable[Prompt], name: str, options: Mapping[str, Any]) -> Teacher:
    """Return the teacher with these options, and with those of the rows' task that are not among them."""
    more = rows.task.generation if isinstance(rows, TaskPrompts) else {}
    try:
        return pillm.teacher(name, **{**more, **options})
    except ConfigError as error:
        if isinstance(rows, TaskPrompts) and any(f"option {key!r}" in str(error) for key in more.keys() - options.keys()):
            raise ConfigError(f"{rows.task.path.name}: generation: {error} Change it there.") from error
        raise


def table_account(rows: Iterable[Prompt]) -> JSONObject:
    """Return what became of the rows of a table for the document of a command; nothing where the rows were prompts."""
    return {"table": _account(rows.task, rows.table, rows.counts)} if isinstance(rows, TaskPrompts) else {}


@click.command("expand", cls=Command)
@click.argument("seeds", type=readable(dir_okay=False))
@backend_option("teacher")
@assignments("teacher")
@click.option("--n", "n", type=click.IntRange(1, 50), default=5, show_default=True, help="Prompts to ask for, for each seed.")
@out_folder(help="Where prompts.jsonl goes, and in label/ what the teacher said.")
@click.option("--alike", type=click.FloatRange(0, 1, min_open=True), default=0.7, show_default=True,
              help="Leave out a text that shares so much with another; 1: only equal ones.")  # fmt: skip
@click.option("--template", type=readable(dir_okay=False), help="Jinja template of the request: seed, n, language, system.")
@click.option("--with-seeds", is_flag=True, help="Write the seeds before the new prompts.")
@click.option("--attempts", type=click.IntRange(1, 20), default=1, show_default=True, help="Answers tried until one fits.")
@click.option("--max-cost", type=click.FloatRange(0), metavar="DOLLARS", help="The most to spend, all runs on --out together.")
@click.option("--max-tokens", type=click.IntRange(0), help="The most tokens to take, all runs on --out together.")
@retry()
@click.pass_obj
def expand(terminal: Terminal, /, seeds: Path, teacher: str, options: dict[str, Any], out: Path, **chosen: Any) -> None:
    """Ask a teacher for more prompts like SEEDS (JSONL), and keep what is new. Stored answers are never asked again."""
    built = pillm.teacher(teacher, **options)
    asked = {name: chosen[name] for name in ("attempts", "max_cost", "max_tokens", "retry")}
    settings = pillm.Expansion(
        n=chosen["n"], alike=chosen["alike"], template=_template(chosen["template"]), with_seeds=chosen["with_seeds"],
        labelling=pillm.Labelling(**asked),
    )  # fmt: skip
    with terminal.progress("expand") as progress:
        made = pillm.expand(pillm.read_prompts(seeds), built, out, settings=settings, progress=progress)
    document = {"seeds": made.seeds, "unanswered": made.unanswered, "texts": made.texts, "new": made.new,
                "left_out": made.left_out, "balanced": made.balanced, "file": str(made.path)}  # fmt: skip
    left_out = "".join(f", {number} {reason}" for reason, number in sorted(made.left_out.items()))
    terminal.result(document, f"{made.new} new prompts of {made.texts} texts from {made.seeds} seeds{left_out}", str(made.path))
    if made.unanswered:
        terminal.say(f"{made.unanswered} seeds got no answer that could be used; {out / 'label'} says why.")
    if made.transient:
        raise pillm.Unavailable(f"{made.transient} seeds got no answer for now. The same command asks only for these again.")


def _template(path: Path | None) -> str | None:
    try:
        return path.read_text("utf-8") if path else None
    except ValueError as error:
        raise ConfigError(f"{path} is not UTF-8. Save it as UTF-8.") from error
