"""`pillm bench compare` and `pillm bench history`: measurements beside each other, and one after the other."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pillm.artifacts import sha256_file, to_json
from pillm.cli.bench_gates import record_of
from pillm.cli.choices import readable
from pillm.cli.sizes import size_text
from pillm.cli.terminal import Command, Terminal
from pillm.performance.comparing import ACROSS, Comparison, caveats, check_comparable, compare
from pillm.performance.history import Contents, Entry, History, default_history
from pillm.performance.trend import ABOUT, COLUMNS, Series, csv_rows, series_of

if TYPE_CHECKING:
    from rich.table import Table

    from pillm.performance.history import Measured

_SHOWN = 20
_TOLD = 5
_WHOLE = 1000
_kept = click.option("--history", type=readable(dir_okay=False), help="A history file instead of the user's own.")


@click.command("compare", cls=Command)
@click.argument("before")
@click.argument("after")
@_kept
@click.option("--across", type=click.Choice(ACROSS), multiple=True, help="Compare although this differs, repeated.")
@click.pass_obj
def compared(terminal: Terminal, /, before: str, after: str, history: Path | None, across: tuple[str, ...]) -> None:
    """Say what changed from the record BEFORE to the record AFTER, with 95 % intervals.

    A record is a file, or a baseline's name, a number or `last` of the history. Void ones, and those of another model,
    device or number of threads, are refused (exit 2); another build, clock limit, system or board of the same kind is named.
    """
    kept = History(history or default_history())
    (left_name, left), (right_name, right) = record_of(before, kept), record_of(after, kept)
    check_comparable(left, right, (left_name, right_name), across)
    found = compare(left, right)
    changes = [{**to_json(one), "word": one.word} for one in found.changes]
    document = {"sentence": found.sentence, "caveats": list(found.caveats), "changes": changes}
    terminal.result(document, found.sentence, *(f"Not alike: {one}." for one in found.caveats), _changes(found))


def _changes(found: Comparison) -> Table:
    from rich.table import Table

    table = Table("figure", "before", "after", "ratio", "95 % interval", "", box=None, pad_edge=False)
    for one in found.changes:
        span = f"{one.ratio.low:.3f} to {one.ratio.high:.3f}" if one.ratio.low < one.ratio.high else ""
        told = (_told(one.figure, one.before), _told(one.figure, one.after))
        table.add_row(one.figure, *told, f"{one.ratio.value:.3f}", span, one.word)
    return table


def _told(figure: str, value: float) -> str:
    if figure in ("peak_memory", "bytes"):
        return size_text(value)
    return f"{value:.0f}" if value >= _WHOLE else f"{value:.4g}"


@click.command("history", cls=Command)
@click.argument("model", required=False)
@_kept
@click.option("--csv", "as_csv", is_flag=True, help=f"Print a table with the columns {','.join((*COLUMNS, *ABOUT))}.")
@click.option("--void", "with_void", is_flag=True, help="Let the table of --csv have the void measurements too.")
@click.option("--last", type=click.IntRange(1), default=_SHOWN, show_default=True, help="Show so many of each series.")
@click.pass_obj
def history(terminal: Terminal, /, model: str | None, history: Path | None, as_csv: bool, with_void: bool, last: int) -> None:
    """Show how speeds went from measurement to measurement, of MODEL (a file, or its name) or of all."""
    kept = History(history or default_history())
    kept.check()
    found = kept.read()
    measured = [one for one in found.measured() if model is None or _is(one, model)]
    _tell(terminal, kept, found)
    if as_csv:
        _table(terminal, [one for one in measured if with_void or not one.record.void])
        return
    document = {
        "history": str(kept.path), "damaged": [list(one) for one in found.damaged],
        "unfinished": [one.sequence for one in found.unfinished()],
        "interrupted": [one.of for one in found.interrupted()], "refused": [one.of for one in found.refused()],
        "measured": [{"sequence": one.sequence, "record": to_json(one.record)} for one in measured],
    }  # fmt: skip
    series = series_of(measured)
    boards = Counter(
        (one.device, one.board) for one in {(one.device, one.board, one.machine_id): one for one in series}.values()
    )
    shown: list[Any] = [part for one in series for part in _series(one, found, last, several=boards[one.device, one.board] > 1)]
    terminal.result(document, *(shown or [f"{kept.path} holds no measurement{f' of {model}' if model else ''}."]))


def _table(terminal: Terminal, measured: Sequence[Measured]) -> None:
    heads, rows, text = (*COLUMNS, *ABOUT), list(csv_rows(measured)), io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([heads, *rows])
    terminal.result([dict(zip(heads, row, strict=True)) for row in rows], text.getvalue().rstrip("\n"))


def _is(one: Measured, model: str) -> bool:
    path = Path(model)
    if path.is_file() and one.record.sha256 is not None and sha256_file(path) == one.record.sha256:
        return True
    return one.record.model == path.name


def _tell(terminal: Terminal, kept: History, found: Contents) -> None:
    """Say what is wrong with a history, and what of it is not finished."""
    for number, reason in found.damaged:
        later = "the next measurement moves the file aside whole"
        terminal.say(f"{kept.path}:{number} is damaged ({reason}) and left out; {later}.")
    for one in found.stepped_back:
        terminal.say(f"The clock stepped back before number {one}: the order is that of the numbers.")
    # what came before a measurement that was finished is known by now; --json lists it all
    news = found.last_measured
    for entry in [one for one in found.unfinished() if one.sequence > news][-_TOLD:]:
        about = entry.body.get("about", {})
        terminal.say(f"Number {entry.sequence} ({about.get('model')}) was not finished: it was killed, or goes on now.")
    for entry in [one for one in found.interrupted() if one.sequence > news][-_TOLD:]:
        samples = sum(len(values) for values in entry.body.get("samples", {}).values())
        terminal.say(f"Number {entry.of} ended early ({_reason(entry)}); {samples} samples of it are kept.")
    if found.entries and found.entries[-1] in found.refused():
        terminal.say(f"The last one, number {found.entries[-1].of}, timed nothing ({_reason(found.entries[-1])}).")


def _reason(entry: Entry) -> str:
    return str(entry.body.get("reason")).partition(". ")[0]


def _when(one: Measured) -> str:
    """Return when something was measured, in UTC: an imported record says it itself."""
    try:
        at = datetime.fromisoformat(one.record.at or one.at)
    except ValueError:
        at = datetime.fromisoformat(one.at)
    return (at.astimezone(UTC) if at.tzinfo else at).strftime("%Y-%m-%d %H:%M:%S")


def _series(series: Series, found: Contents, last: int, *, several: bool) -> Sequence[Any]:
    from rich.table import Table

    names = {one.of: str(one.body.get("name")) for one in found.entries if one.kind == "baseline"}
    threads = f", {series.threads} thread{'s' if series.threads > 1 else ''}" if series.threads else ""
    where = f"{series.device} ({series.board})" if series.board else series.device
    file = f" ({series.sha256[:12]})" if series.sha256 else ""
    anew = f": another file than {series.replaces[:12]}, which had this name before" if series.replaces else ""
    machine = f", machine {series.machine_id}" if several and series.machine_id else ""
    basis = f", {series.basis}" if series.basis != "measured" else ""
    head = f"{series.model}{file} on {where}{machine}{threads}{basis}{anew}"
    columns = ("number", "at", f"pp{series.pp} t/s", f"tg{series.tg} t/s", "ttft ms", "peak MB", "")
    table = Table(*columns, box=None, pad_edge=False)
    earlier = (None, *series.measured)[-last - 1 : -1]
    for before, one in zip(earlier, series.measured[-last:], strict=True):
        record = one.record
        unlike = caveats(before.record, record) if before else ()
        void = f"void: {'; '.join(record.void)}" if record.void else ""
        about = "; ".join(filter(None, (names.get(one.sequence), *unlike, void)))
        table.add_row(
            str(one.sequence), _when(one), f"{record.pp_tps:.1f}", f"{record.tg_tps:.1f}",
            "" if record.ttft_ms is None else f"{record.ttft_ms:.1f}",
            "" if record.peak_memory is None else f"{record.peak_memory / 1e6:.1f}", about,
        )  # fmt: skip
    trend = [f"  decode {series.line('tg_tps')}   prefill {series.line('pp_tps')}"] if len(series.counted) > 1 else []
    return [head, *trend, table]
