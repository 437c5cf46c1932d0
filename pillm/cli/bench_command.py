"""`pillm bench`: time a model file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

import pillm
from pillm.artifacts import Benchmark, to_json
from pillm.cli.choices import assignments, backend_option
from pillm.cli.targets import model_of, runner_for
from pillm.cli.terminal import Terminal, cli_command
from pillm.errors import DataError, GateError


@cli_command("bench")
@click.argument("model")
@backend_option("runner", required=False, more=" times it; by default one that reads MODEL")
@assignments("runner")
@click.option("--pp", type=click.IntRange(1), default=512, show_default=True, help="Prompt tokens of the prefill figure.")
@click.option("--tg", type=click.IntRange(1), default=128, show_default=True, help="Generated tokens of the decode figure.")
@click.option("--repetitions", type=click.IntRange(1), default=5, show_default=True, help="Runs; the median counts.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads; by default the runner's choice.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the record to this JSON file.")
@click.option("--baseline", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A record to compare with.")
@click.option("--tolerance", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="How much slower is still well.")
@click.pass_obj
def command(terminal: Terminal, /, model: str, runner: str | None, options: dict[str, Any], **chosen: Any) -> None:
    """Time MODEL, prefill (pp) and decode (tg) apart. Slower than --baseline by more than --tolerance exits with 3."""
    found = model_of(model)
    built = runner_for(found, runner, options)
    before = _record(chosen["baseline"]) if chosen["baseline"] else None
    plan = pillm.BenchPlan(**{name: chosen[name] for name in ("pp", "tg", "repetitions", "threads")})
    with terminal.progress("bench") as progress:
        measured = pillm.bench(found, built, plan=plan, out=chosen["out"], progress=progress)
    document = to_json(measured)
    lines = [str(measured)]
    if before:
        document["baseline"] = _ratios(before, measured)
        lines += [f"{name}: {ratio:.2f} times the baseline" for name, ratio in document["baseline"].items()]
    terminal.result(document, *lines)
    slower = [name for name, ratio in document.get("baseline", {}).items() if ratio < 1 - chosen["tolerance"]]
    if slower:
        raise GateError(f"slower than the baseline by more than {chosen['tolerance']:.0%}: {', '.join(slower)}.")


def _record(path: Path) -> Benchmark:
    try:
        return Benchmark(**json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is not a benchmark record ({error}). Give a file that `pillm bench --out` wrote.") from error


def _ratios(before: Benchmark, now: Benchmark) -> dict[str, float]:
    pairs = {name: (getattr(now, name), getattr(before, name)) for name in ("pp_tps", "tg_tps")}
    return {name: round(new / old, 4) for name, (new, old) in pairs.items() if old > 0}
