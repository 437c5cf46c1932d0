"""`pillm bench`: time a model file, compare measurements, look at their history."""

from __future__ import annotations

from typing import Any

import click

import pillm
from pillm.artifacts import to_json
from pillm.cli.bench_expected import expected_of
from pillm.cli.bench_gates import Bar
from pillm.cli.bench_import import imported
from pillm.cli.bench_lines import lines_of
from pillm.cli.bench_views import compared, history
from pillm.cli.choices import assignments, backend_option, new_file, readable
from pillm.cli.targets import model_of, runner_for
from pillm.cli.terminal import Command, Terminal
from pillm.devices.shapes import shape_of
from pillm.errors import Interrupted
from pillm.files import write_json
from pillm.performance.benchmark import Benchmark
from pillm.performance.comparing import ACROSS, ENOUGH
from pillm.performance.history import History, default_history
from pillm.performance.verdict import SPREAD
from pillm.stages.benchmarking import measure
from pillm.stages.measurement import Measuring

_SENTENCE = "The quick brown fox jumps over the lazy dog, and then it goes home to sleep until the next morning."
_ROWS = 20
_MOST = 1_000_000


def _numbers(_ctx: click.Context, _param: click.Parameter, text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not all(word.isdecimal() and 0 < int(word) < _MOST for word in words):
        raise click.BadParameter(f"{text!r} is not a list of numbers such as 512,2048")
    return tuple(dict.fromkeys(int(word) for word in words))


class _Bench(click.Group):
    """A group whose first verb may be left out: `pillm bench FILE` times FILE."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take anything but a verb, or the wish for help, for something to time."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["time", *args]
        return super().parse_args(ctx, args)


def _name(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is not None and (value == "last" or value.isdecimal() or not value.strip()):
        raise click.BadParameter(f"{value!r} means something else in a history. Choose a word.")
    return value


@click.group("bench", cls=_Bench)
def command() -> None:
    """Time a model file: `pillm bench FILE` is `pillm bench time FILE`. Compare measurements, look at their history."""


command.add_command(compared)
command.add_command(history)
command.add_command(imported)


@command.command("time", cls=Command)
@click.argument("model")
@backend_option("runner", required=False, more=" times it; by default one that reads MODEL")
@assignments("runner")
@click.option("--pp", type=click.IntRange(1), default=512, show_default=True, help="Prompt tokens of the prefill figure.")
@click.option("--tg", type=click.IntRange(1), default=128, show_default=True, help="Generated tokens of the decode figure.")
@click.option("--repetitions", type=click.IntRange(1), default=5, show_default=True, help="Runs; the median counts.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads; by default the runner's choice.")
@click.option("--wide", is_flag=True, help="Also more lengths, two depths, loading cold and warm, and a saved prefix.")
@click.option("--depths", callback=_numbers, default="", metavar="N,N", help="Time again behind so many tokens.")
@click.option("--thread-counts", callback=_numbers, default="", metavar="N,N", help="Time again with so many threads.")
@click.option("--sustained", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="Then write without a pause.")
@click.option(
    "--prompts", type=readable(dir_okay=False), help=f"Rows (JSONL) to answer, the first {_ROWS}: first token, pace, grammar."
)  # fmt: skip
@click.option("--embed", is_flag=True, help="Also time embeddings.")
@click.option("--device", metavar="NAME", help="A device profile: say how much of its prediction was reached.")
@click.option("--strict", is_flag=True, help="Refuse a machine that is not fit to be timed (exit 5).")
@click.option("--cool", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="Wait so long at most until it is cool.")
@click.option(
    "--max-spread", type=click.FloatRange(0), default=SPREAD, show_default=True,
    help="Spread of prefill (0.01: one in a hundred) beyond which a measurement is void; of decode five times that.",
)  # fmt: skip
@click.option("--out", type=new_file(), help="Also write the record to this JSON file, which is not there yet.")
@click.option("--history", type=new_file(), help="Keep the record in this history instead of the user's own.")
@click.option("--no-history", is_flag=True, help="Keep no history.")
@click.option("--save-baseline", metavar="NAME", callback=_name, help="Let the record be called NAME in the history.")
@click.option("--baseline", metavar="RECORD", help="What to compare with: a file, or a name or number of the history.")
@click.option("--tolerance", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="How much slower is still well.")
@click.option("--across", type=click.Choice(ACROSS), multiple=True, help="Compare although this differs, repeated.")
@click.option(
    "--gate", "gates", multiple=True, metavar="DEMAND",
    help="Repeated: 'tg_tps>=8', 'peak_memory<=900MB', 'bytes<=1GB', 'tg_tps>=0.95 of baseline', 'exact>=0.9'.",
)  # fmt: skip
@click.option(
    "--unsure", type=click.Choice(("pass", "fail")), default="pass", show_default=True,
    help="What becomes of a gate whose bound lies within the 95 % interval.",
)  # fmt: skip
@click.option("--evaluation", type=readable(dir_okay=False), help="What `pillm evaluate --json` printed, for gates on metrics.")
@click.pass_obj
def timed(terminal: Terminal, /, model: str, runner: str | None, options: dict[str, Any], **chosen: Any) -> None:
    """Time MODEL, prefill (pp) and decode (tg) apart, and keep the record; then compare it.

    Slower than --baseline by more than --tolerance, or a --gate not met: exit 3. A measurement that the machine disturbed
    is void: it is kept, and compared with nothing (exit 5 where that was asked for, or a baseline).
    """
    _check_places(chosen)
    found = model_of(model, terminal)
    built = runner_for(found, runner, options)
    if isinstance(found, pillm.ModelFile) and found.path.suffix == ".gguf":
        pillm.check_model_file(found.path)  # what is no such file is not noted in the history
    profile = pillm.device(chosen["device"]) if chosen["device"] else None
    kept = None if chosen["no_history"] else History(chosen["history"] or default_history())
    plan = _seen(_plan(chosen), found, terminal)
    bar = Bar.set_by(chosen, kept)
    bar.check_before(found, plan)
    with terminal.progress("bench") as progress:
        expected = expected_of(profile, found, plan) if profile else None
        how = Measuring(plan=plan, history=kept, expected=expected, profile=profile, progress=progress)
        record, number = _measured(found, built, how)
    if chosen["out"]:
        write_json(chosen["out"], to_json(record))
    if kept and kept.quarantined:
        terminal.say(f"{kept.path} was damaged: it stands whole in {kept.quarantined}, its good lines go on.")
    if kept:
        terminal.say(f"Kept as number {number} of {kept.path}")
    bar.judge(terminal, record, lines_of(record, bar.kept))
    if chosen["save_baseline"] and kept:  # what did not pass is no baseline
        _save_baseline(chosen["save_baseline"], kept, number, record)


def _check_places(chosen: dict[str, Any]) -> None:
    """Raise what is wrong with where the record is to go, before anything is timed."""
    out = chosen["out"]
    if chosen["save_baseline"] and chosen["no_history"]:
        raise click.UsageError("--save-baseline names a measurement of the history: leave --no-history out.")
    if chosen["save_baseline"] and chosen["repetitions"] < ENOUGH:
        raise click.UsageError(f"--save-baseline wants --repetitions {ENOUGH} or more: nothing could fail beside fewer.")
    if out and out.exists():
        raise click.UsageError(f"{out} is there already, and a record is never written over. Choose another --out.")
    if out and chosen["history"] and out.absolute() == chosen["history"].absolute():
        raise click.UsageError(f"--out and --history are both {out}. Choose another --out.")


def _seen(plan: pillm.BenchPlan, model: pillm.ModelFile | pillm.Checkpoint, terminal: Terminal) -> pillm.BenchPlan:
    """Return the plan clipped to what a file says that its model can see, and tell it."""
    if not isinstance(model, pillm.ModelFile) or model.path.suffix != ".gguf":
        return plan
    try:
        context = shape_of(model).context or None
    except pillm.PillmError:  # the runner may read it all the same
        return plan
    clipped = plan.clipped(context)
    if clipped != plan:
        asked = f"pp{plan.pp} and tg{plan.tg} are more than the {context} tokens that {model.label} can see"
        terminal.say(f"{asked}: pp{clipped.pp} and tg{clipped.tg} are timed.")
    return clipped


def _measured(model: pillm.ModelFile | pillm.Checkpoint, runner: pillm.Runner, how: Measuring) -> tuple[Benchmark, int | None]:
    try:
        return measure(model, runner, how)
    except KeyboardInterrupt as error:
        samples = f"What was timed so far stands in {how.history.path}" if how.history else "Nothing is kept"
        raise Interrupted(
            f"Interrupted. {samples}; a measurement is whole or none, so the same command begins anew."
        ) from error


def _save_baseline(name: str, kept: History, number: int | None, record: Benchmark) -> None:
    if record.void:
        raise pillm.Unavailable(
            f"it is void ({'; '.join(record.void)}), so it is not called {name!r}; it is kept as number {number}. Run the same "
            "command again when the machine is quiet; --max-spread allows for a busier one."
        )
    kept.append("baseline", {"of": number, "name": name})


def _plan(chosen: dict[str, Any]) -> pillm.BenchPlan:
    plan = pillm.BenchPlan(
        **{name: chosen[name] for name in ("pp", "tg", "repetitions", "threads", "sustained", "max_spread", "strict", "cool")},
        depths=chosen["depths"], thread_counts=chosen["thread_counts"],
        prompts=tuple(pillm.read_prompts(chosen["prompts"]))[:_ROWS] if chosen["prompts"] else (),
        texts=(_SENTENCE,) * chosen["repetitions"] if chosen["embed"] else (),
    )  # fmt: skip
    return plan.wide() if chosen["wide"] else plan
