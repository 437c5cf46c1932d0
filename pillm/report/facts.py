"""What a run knows at its end, before anything is said about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pillm.artifacts import Benchmark, Evaluation, ModelFile, Parity, Plan
from pillm.performance.trend import Series
from pillm.records import JSONObject
from pillm.report.blame import Check

ROW_FATES = ("in", "answered", "rejected", "failed", "pending")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """The facts of a run that its report is made of."""

    recipe: str
    """The recipe's name."""
    rows: Mapping[str, int]
    """in, answered, rejected, failed, pending."""
    models: Sequence[ModelFile] = ()
    evaluations: Sequence[Evaluation] = ()
    """With the paths of their predictions, for paired differences and the wrong rows."""
    benchmarks: Sequence[Benchmark] = ()
    plans: Sequence[Plan] = ()
    """Predictions for the recipe's device; they become benchmarks of the basis "predicted"."""
    gates: Sequence[Any] = ()
    """Objects or tables with gate, model, value, bound, met and reason."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    parity: Parity | None = None
    """By default what the models carry."""
    training: JSONObject | None = None
    """What `pillm.report.trainingfile` read of the trainer's record."""
    choice: JSONObject | None = None
    """What `pillm.report.choicefile` read of how the exporter chose."""
    splits: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Bytes of what was there before: "teacher", "base", "checkpoint"."""
    device: str | None = None
    """The recipe's device; by default that of the first plan."""
    resolved: JSONObject = field(default_factory=dict)
    """The resolved recipe."""
    notes: Sequence[str] = ()
    checks: Sequence[Check] = ()
    """What was told of the files without asking them."""
    emulated: JSONObject | None = None
    """What the chosen file answered on its device's processor, emulated."""
    not_emulated: str | None = None
    """Why that was not tried, where it could have been."""
    trends: Sequence[Series] = ()
    """What the run's files measured since its folder was made."""
    at: str | None = None
