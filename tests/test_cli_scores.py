"""Scores and differences as a person reads them."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console

from pillm import Evaluation, Figure
from pillm.cli.scores import basis_line, differences_lines, interval, scores_table
from pillm.stages.intervals import Difference


def evaluation(name: str, mean: float, **facts: Any) -> Evaluation:
    """Return an evaluation with one metric."""
    figure = Figure(mean=mean, low=mean - 0.1, high=mean + 0.05, rows=10)
    return Evaluation(subject=name, kind="model", set="test", rows=10, metrics={"exact": figure}, **facts)


def test_a_mean_stands_with_its_interval() -> None:
    assert interval(Figure(mean=0.5, low=0.25, high=0.75, rows=4)) == "0.500 [0.250, 0.750]"


def test_the_table_fits_eighty_columns_and_tells_failures() -> None:
    console = Console(width=80, record=True, file=StringIO())
    console.print(scores_table([evaluation("student-of-a-long-name-Q4_K_M.gguf", 0.9), evaluation("b", 0.8, failed=2)]))
    text = console.export_text()
    assert "0.900 [0.800, 0.950]" in text
    assert "failed rows" in text


def test_a_metric_that_applied_to_fewer_rows_says_to_how_many() -> None:
    few = Evaluation(
        subject="a",
        kind="model",
        set="test",
        rows=10,
        metrics={"exact": Figure(mean=1, low=0.2, high=1, rows=1), "json": Figure(mean=1, low=0.7, high=1, rows=10)},
    )
    console = Console(width=80, record=True, file=StringIO())
    console.print(scores_table([few]))
    exact, json = [line for line in console.export_text().splitlines() if "[" in line]
    assert "1.000 [0.200, 1.000] n=1" in exact
    assert "n=" not in json
    assert basis_line([few]).startswith("10 rows (n: the rows a metric applies to), compared")


def test_differences_say_whether_they_may_be_chance() -> None:
    both = [evaluation("a", 0.9), evaluation("b", 0.8)]
    sure = Difference(mean=-0.1, low=-0.2, high=-0.05, rows=10, better=0, worse=1, units=10)
    unsure = Difference(mean=-0.1, low=-0.2, high=0.05, rows=10, better=1, worse=2, units=10)
    assert "may be chance" not in "".join(differences_lines(both, [{"exact": sure}]))
    assert "may be chance" in "".join(differences_lines(both, [{"exact": unsure}]))
    assert basis_line(both) == "10 rows, compared with the reference; in brackets the 95 % interval"
