"""`pillm plan --calibrate` on this machine: what its profile predicts of files that it did not time, against `pillm bench`."""

from __future__ import annotations

import importlib.metadata
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pillm_llamacpp.measuring.timefiles import Shape, write_file

import pillm
from pillm.cli.calibrating import calibrated
from tests.benchmarks.harness import Result

NANO = Shape(hidden=256, wide=256, layers=4, heads=4, kv_heads=2, vocabulary=1536)
"""The nano student's, whose files have 2 and 4 MB."""
MIDDLE = Shape(hidden=768, wide=2304, layers=16, heads=12, kv_heads=4)
FILES: tuple[tuple[str, Shape, str], ...] = (
    ("nano", NANO, "Q8_0"), ("nano", NANO, "F16"), ("middle", MIDDLE, "Q8_0"), ("middle", MIDDLE, "Q4_0"),
)  # fmt: skip
MOST = 0.10
FIGURES = {"decode": "tg_tps", "prefill": "pp_tps"}


def run(quick: bool) -> Iterator[Result]:
    """Yield the worst error of decode, then of prefill, over files that the calibration did not see."""
    runner = pillm.runner("local")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        models = [
            pillm.ModelFile.of(write_file(folder / f"{name}-{type_}.gguf", shape, type_), type_) for name, shape, type_ in FILES
        ]
        profile = folder / "here.yaml"
        profile.write_text(calibrated(runner, folder, pillm.Progress()).text, "utf-8")
        plan = pillm.BenchPlan(repetitions=1 if quick else 3)
        found = [(model, pillm.plan(model, profile), pillm.bench(model, runner, plan=plan)) for model in models]
    for name, figure in FIGURES.items():
        ratios = {model.label: round(getattr(told, figure) / getattr(taken, figure), 3) for model, told, taken in found}
        yield _told(name, ratios, {model.label: getattr(taken, figure) for model, _, taken in found})


def _told(name: str, ratios: dict[str, float], measured: dict[str, Any]) -> Result:
    return Result(
        benchmark=f"plan-calibrated-{name}",
        pillm=round(max(abs(ratio - 1) for ratio in ratios.values()), 4),
        peer=MOST,
        unit="of the measured speed",
        goal=1.0,
        better="lower",
        peer_is=f"the {MOST:.0%} that the worst of {len(ratios)} files may err",
        limit="one figure per layer, storage type and number of threads; caches and noise are left out",
        details={"predicted / measured": ratios, "tokens/s": measured, "day": datetime.now(UTC).date().isoformat()},
        versions={"llama-cpp-python": importlib.metadata.version("llama-cpp-python")},
    )
