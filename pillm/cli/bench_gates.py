"""What a measurement is held against on the command line: a baseline, and gates; it is recorded first and judged then."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pillm.artifacts import ModelFile, to_json
from pillm.errors import DataError, GateError, Unavailable
from pillm.performance.benchmark import Benchmark, read_benchmark
from pillm.performance.comparing import ENOUGH, check_comparable, compare
from pillm.performance.demands import (
    Checked,
    Demand,
    Unsure,
    check_demand,
    check_figures,
    check_planned,
    parse_demand,
)
from pillm.performance.medians import Median

if TYPE_CHECKING:
    from pillm.artifacts import BenchPlan, Checkpoint
    from pillm.cli.terminal import Terminal
    from pillm.performance.history import History


def record_of(name: str, history: History | None) -> tuple[str, Benchmark]:
    """Return a record, and what to call it, by its file, or by its number or baseline name in a history; raise DataError."""
    path = Path(name)
    if path.is_file():
        return name, read_benchmark(path.read_bytes(), name)
    if history is None:
        raise DataError(f"{name} is not a file, and without a history it names nothing else.")
    found = history.read().find(name)
    return f"number {found.sequence} of {history.path.name}", found.record


@dataclass(frozen=True, slots=True)
class Bar:
    """What a measurement must reach."""

    name: str = ""
    baseline: Benchmark | None = None
    demands: tuple[Demand, ...] = ()
    scores: Mapping[str, Mapping[str, Median]] = field(default_factory=dict)
    """By subject, then metric."""
    tolerance: float = 0.1
    across: tuple[str, ...] = ()
    unsure: Unsure = "pass"
    kept: str = "The record is kept."
    """What becomes of the record, whatever it is judged to be."""

    @classmethod
    def set_by(cls, chosen: Mapping[str, Any], history: History | None) -> Bar:
        """Return what the options of `pillm bench` ask for; raise DataError or ConfigError where it cannot be checked."""
        name, baseline = record_of(chosen["baseline"], history) if chosen["baseline"] else ("", None)
        demands = tuple(parse_demand(text) for text in chosen["gates"])
        scores = _scores(chosen["evaluation"]) if chosen["evaluation"] else {}
        metrics = sorted({metric for found in scores.values() for metric in found}) if chosen["evaluation"] else None
        check_figures(demands, metrics, baseline=baseline is not None)
        kept = f"It is not kept (--no-history), save in {chosen['out']}." if chosen["out"] else "It is not kept (--no-history)."
        kept = "The record is kept." if history else kept
        return cls(name, baseline, demands, scores, chosen["tolerance"], chosen["across"], chosen["unsure"], kept)

    def check_before(self, model: ModelFile | Checkpoint, plan: BenchPlan) -> None:
        """Raise what stands in the way of a judgement, as far as that is known before anything is timed.

        ConfigError for a gate that could never fail, DataError where the baseline is void, of something else or timed too
        seldom, and where nothing was scored of this file.
        """
        check_planned(self._demands(), plan)
        if any(one.is_quality for one in self.demands) and not self._quality(model.label):
            known = ", ".join(self.scores) or "nothing"
            raise DataError(
                f"--evaluation has no scores of {model.label} by that name, or two of them: it has those of {known}. "
                "Score the file: pillm evaluate ROWS --subject FILE --json."
            )
        if self.baseline is None:
            return
        few = max(len(self.baseline.speeds(name)) for name in ("pp_tps", *(["tg_tps"] if self.baseline.tg else [])))
        if few < ENOUGH:
            raise DataError(
                f"{self.name} was timed {'once' if few < 2 else 'twice'}: that says nothing of chance, and nothing could fail "
                f"beside it. Give a baseline of {ENOUGH} repetitions or more."
            )
        sha256 = model.sha256 if isinstance(model, ModelFile) else None
        soon = Benchmark(
            model=model.label, device=self.baseline.device, basis=self.baseline.basis, pp_tps=1.0, tg_tps=1.0,
            pp=plan.pp, tg=self.baseline.tg and plan.tg, threads=plan.threads, sha256=sha256,
        )  # fmt: skip
        check_comparable(self.baseline, soon, (self.name, "what was to be timed"), self.across)

    def judge(self, terminal: Terminal, record: Benchmark, lines: Sequence[str]) -> None:
        """Print the record with what became of it, and raise GateError where a demand is not met.

        Raises Unavailable where the record is void and was to be judged, DataError where the baseline is of something else.
        """
        document: dict[str, Any] = to_json(record)
        if self.baseline is None and not self.demands:
            terminal.result(document, *lines)
            return
        try:
            self._may_be_judged(record)
        except (Unavailable, DataError):
            terminal.result(document, *lines)
            raise
        compared = compare(self.baseline, record) if self.baseline is not None else None
        known: dict[str, Any] = {"baseline": self.baseline, "scores": self._quality(record.model), "unsure": self.unsure}
        found = [check_demand(one, record, **known) for one in self._demands()]
        said: list[str] = []
        if compared is not None:
            ratios = {one.figure: one.ratio.value for one in compared.changes if one.figure in ("pp_tps", "tg_tps")}
            document["baseline"] = {name: round(ratios[name], 4) for name in sorted(ratios)}
            document["caveats"] = list(compared.caveats)
            said += [f"{name}: {ratios[name]:.2f} times the baseline" for name in sorted(ratios)]
            said += [compared.sentence, *(f"Not alike: {one}." for one in compared.caveats)]
        document["gates"] = [to_json(one) for one in found]
        terminal.result(document, *lines, *said, *(one.sentence for one in found))
        self._refuse(found)

    def _may_be_judged(self, record: Benchmark) -> None:
        if record.void:
            raise Unavailable(
                f"the measurement is void ({'; '.join(record.void)}): nothing is judged by it. {self.kept} Run the same "
                "command again when the machine is quiet; --max-spread allows for a busier one."
            )
        if self.baseline is not None:
            check_comparable(self.baseline, record, (self.name, "what was timed now"), self.across)

    def _demands(self) -> list[Demand]:
        """Return the gates; a baseline that no gate names is met within the tolerance."""
        if self.baseline is None or any(one.of_baseline for one in self.demands):
            return list(self.demands)
        least = round(1 - self.tolerance, 6)
        figures = [name for name in ("pp_tps", "tg_tps") if self.baseline.speeds(name)]
        return [*(parse_demand(f"{name}>={least:g} of baseline") for name in figures), *self.demands]

    def _quality(self, name: str) -> Mapping[str, Median]:
        """Return the scores of the file that is timed; none of another subject, nor where two have its name."""
        named = [found for subject, found in self.scores.items() if Path(subject).name == name]
        return named[0] if len(named) == 1 else {}

    def _refuse(self, found: Sequence[Checked]) -> None:
        failed = [one for one in found if one.outcome in ("failed", "unknown", *(("unsure",) if self.unsure == "fail" else ()))]
        if not failed:
            return
        slower = [one.demand.partition(">=")[0] for one in failed if "of baseline" in one.demand and ">=" in one.demand]
        why = " ".join(one.sentence for one in failed)
        begin = f"slower than the baseline: {', '.join(slower)}. " if slower else ""
        raise GateError(f"{begin}{why} {self.kept}")


def _scores(path: Path) -> dict[str, dict[str, Median]]:
    """Return the scores of what `pillm evaluate --json` printed, or of one evaluation; raise DataError."""
    try:
        said = json.loads(path.read_text("utf-8"))
        evaluations = said.get("evaluations", [said])
        return {
            one["subject"]: {
                name: Median(value=float(figure["mean"]), low=float(figure["low"]), high=float(figure["high"]))
                for name, figure in one["metrics"].items()
            }
            for one in evaluations
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = type(error).__name__
        raise DataError(f"{path} holds no scores ({reason}). Give what `pillm evaluate --json` printed.") from error
