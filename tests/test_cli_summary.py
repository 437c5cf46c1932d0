"""A run on one screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from pillm.cli.summary import run_summary

FIGURE = {"mean": 0.9, "low": 0.8, "high": 0.95, "rows": 10}
REPORT: dict[str, Any] = {
    "rows": {"in": 10, "answered": 9, "rejected": 1, "failed": 0, "pending": 0},
    "parity": {"rows": 10, "mismatches": 0},
    "models": [{"file": "export/x-Q8_0.gguf", "quant": "Q8_0", "bytes": 2_500_000, "sha256": "0" * 64}],
    "evaluations": [
        {"subject": "nano-teacher", "kind": "teacher", "set": name, "quant": None, "rows": 10, "metrics": {"exact": FIGURE}}
        for name in ("test", "handwritten")
    ],
    "benchmarks": [
        {"model": "x-Q8_0.gguf", "device": "here", "basis": "measured", "pp_tps": 1000.0, "tg_tps": 200.0},
        {"model": "x-Q8_0.gguf", "device": "pi4-4gb", "basis": "predicted", "pp_tps": 100.0, "tg_tps": 50.0},
    ],
    "seconds": {"label": 1.0},
    "versions": {},
}


def text_of(report: dict[str, Any]) -> str:
    """Return what an 80-column terminal shows."""
    console = Console(width=80, markup=False)
    with console.capture() as captured:
        for item in run_summary(report, Path("runs/x")):
            console.print(item)
    return captured.get()


def test_rows_scores_files_speeds_and_the_report_are_on_one_screen() -> None:
    text = text_of(REPORT)
    for word in ("9 answered + 1 rejected", "10 rows, 0 mismatches", "teacher nano-teacher", "handwritten",
                 "0.900 [0.800, 0.950]", "x-Q8_0.gguf", "2.5", "200", "50 on pi4-4gb", "runs/x/report.html"):  # fmt: skip
        assert word in text, word
    assert max(map(len, text.splitlines())) <= 80


def test_a_void_measurement_is_called_so_beside_its_figures() -> None:
    void = {**REPORT["benchmarks"][0], "void": ["7 pages were swapped meanwhile"]}
    text = " ".join(text_of({**REPORT, "benchmarks": [void]}).split())
    assert "200 (void)" in text
    assert "x-Q8_0.gguf on here: void, no gate is judged by it: 7 pages were swapped meanwhile" in text


def test_a_report_without_scores_is_told_too() -> None:
    bare = {**REPORT, "parity": None, "evaluations": [], "models": [], "benchmarks": [], "seconds": {}}
    assert "10 rows = 9 answered" in text_of(bare)
