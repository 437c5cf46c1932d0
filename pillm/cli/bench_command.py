"""`pillm bench`: time a model file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from pydantic import TypeAdapter, ValidationError

import pillm
from pillm.artifacts import Benchmark, to_json
from pillm.cli.choices import assignments, backend_option, new_file
from pillm.cli.targets import model_of, runner_for
from pillm.cli.terminal import Terminal, cli_command
from pillm.errors import DataError, GateError

_REMEDY = "Give a record that `pillm bench --out` wrote for the same model, device and options."


@cli_command("bench")
@click.argument("model")
@backend_option("runner", required=False, more=" times it; by default one that reads MODEL")
@assignments("runner")
@click.option("--pp", type=click.IntRange(1), default=512, show_default=True, help="Prompt tokens of the prefill figure.")
@click.option("--tg", type=click.IntRange(1), default=128, show_default=True, help="Generated tokens of the decode figure.")
@click.option("--repetitions", type=click.IntRange(1), default=5, show_default=True, help="Runs; the median counts.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads; by default the runner's choice.")
@click.option("--out", type=new_file(), help="Also write the record to this JSON file.")
@click.option(
    "--baseline", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A record to compare with: of the same model, device, --pp, --tg and threads.",
)  # fmt: skip
@click.option("--tolerance", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="How much slower is still well.")
@click.pass_obj
def command(terminal: Terminal, /, model: str, runner: str | None, options: dict[str, Any], **chosen: Any) -> None:
    """Time MODEL, prefill (pp) and decode (tg) apart. Slower than --baseline by more than --tolerance exits with 3."""
    found = model_of(model, terminal)
    built = runner_for(found, runner, options)
    plan = pillm.BenchPlan(**{name: chosen[name] for name in ("pp", "tg", "repetitions", "threads")})
    baseline = _Baseline.read(chosen["baseline"]) if chosen["baseline"] else None
    if baseline:
        baseline.check(model=found.label, pp=plan.pp, tg=plan.tg, threads=plan.threads)
    with terminal.progress("bench") as progress:
        measured = pillm.bench(found, built, plan=plan, out=chosen["out"], progress=progress)
    document = to_json(measured)
    if baseline is None:
        terminal.result(document, str(measured))
        return
    try:
        baseline.check(device=measured.device, threads=measured.threads)  # known only now
    except DataError:
        terminal.result(document, str(measured))
        raise
    ratios = baseline.ratios(measured)
    lines = [f"{name}: {ratio:.2f} times the baseline" for name, ratio in ratios.items()]
    terminal.result({**document, "baseline": ratios}, str(measured), *lines)
    slower = [name for name, ratio in ratios.items() if ratio < 1 - chosen["tolerance"]]
    if slower:
        raise GateError(f"slower than the baseline by more than {chosen['tolerance']:.0%}: {', '.join(slower)}.")


@dataclass(frozen=True, slots=True)
class _Baseline:
    """An earlier record, and the file that holds it."""

    path: Path
    record: Benchmark

    @classmethod
    def read(cls, path: Path) -> _Baseline:
        """Read a record strictly; raise DataError for a file that holds none."""
        try:
            record = TypeAdapter(Benchmark).validate_json(path.read_bytes(), strict=True)
        except ValidationError as error:
            wrong = error.errors()[0]
            reason = ": ".join([*map(str, wrong["loc"]), wrong["msg"]])
            raise DataError(f"{path} is not a benchmark record ({reason}). {_REMEDY}") from error
        if not (record.pp_tps > 0 and record.tg_tps > 0):
            raise DataError(f"{path} holds no speed to compare with. {_REMEDY}")
        return cls(path, record)

    def check(self, **now: object) -> None:
        """Raise DataError where this record is of something else; what is not known on one side is passed over."""
        then = {name: getattr(self.record, name) for name in now}
        known = {name: value for name, value in now.items() if value is not None and then[name] is not None}
        other = [f"{name} {then[name]}, not {value}" for name, value in known.items() if value != then[name]]
        if other:
            raise DataError(f"{self.path} was measured with {'; '.join(other)}: its speeds cannot be compared. {_REMEDY}")

    def ratios(self, now: Benchmark) -> dict[str, float]:
        """Return how many times as fast as this record another one is."""
        return {name: round(getattr(now, name) / getattr(self.record, name), 4) for name in ("pp_tps", "tg_tps")}
