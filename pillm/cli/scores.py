"""Scores and differences as a person reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from pillm.artifacts import Evaluation, Figure
    from pillm.stages.intervals import Difference


def interval(figure: Figure) -> str:
    """Return a mean with its 95 % interval, as "0.953 [0.931, 0.970]"."""
    return f"{figure.mean:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def scores_table(evaluations: Sequence[Evaluation]) -> Table:
    """Return one row per metric and one column per subject, so that many subjects still fit."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("metric", no_wrap=True)
    for one in evaluations:
        table.add_column(one.subject, justify="right", overflow="fold")
    for name in dict.fromkeys(name for one in evaluations for name in one.metrics):
        table.add_row(name, *(_cell(one, name) for one in evaluations))
    for name in ("failed", "cut"):
        if any(getattr(one, name) for one in evaluations):
            table.add_row(f"{name} rows", *(str(getattr(one, name)) for one in evaluations))
    return table


def _cell(one: Evaluation, name: str) -> str:
    figure = one.metrics.get(name)
    if figure is None:
        return "-"
    return interval(figure) + (f" n={figure.rows}" if figure.rows < one.rows else "")


def basis_line(evaluations: Sequence[Evaluation]) -> str:
    """Return how many rows were scored, and what their answers were compared with."""
    rows = " / ".join(dict.fromkeys(f"{one.rows} rows" for one in evaluations))
    if any(figure.rows < one.rows for one in evaluations for figure in one.metrics.values()):
        rows += " (n: the rows a metric applies to)"
    compared = " / ".join(dict.fromkeys(one.compared_with for one in evaluations))
    return f"{rows}, compared with the {compared}; in brackets the 95 % interval"


def differences_lines(evaluations: Sequence[Evaluation], differences: Sequence[Mapping[str, Difference]]) -> list[str]:
    """Return the paired differences of every subject to the first, a line each."""
    first = evaluations[0].subject
    lines = []
    for other, by_metric in zip(evaluations[1:], differences, strict=True):
        lines.append(f"\n{other.subject} against {first}, on the same rows:")
        for name, one in by_metric.items():
            sure = "" if one.certain else "; may be chance"
            counts = f"better on {one.better}, worse on {one.worse} of {one.rows}"
            lines.append(f"  {name:8} {one.mean:+.3f} [{one.low:+.3f}, {one.high:+.3f}]  {counts}{sure}")
    return lines
