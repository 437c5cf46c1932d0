"""docs/benchmarks.md, made of the committed results: a section for each part of pillm, goals in each figure's own unit."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NAMES = sorted(path.stem.replace("_", "-") for path in HERE.glob("*.py") if path.stem not in ("__main__", "harness", "page"))
"""The benchmarks; a figure is named after the one that measures it."""
TITLES = {
    "deploy": "Deploying",
    "export": "Packing a student into a file",
    "help": "The command line",
    "kd": "Learning distributions",
    "label": "Labelling",
    "plan": "Planning",
    "quant": "Training for a quantisation",
    "run": "Running a file",
    "train": "Training",
}
ALIKE = "the peer with its weights in huge pages too"
"""The detail that holds a second figure of the peer: the promise is held against it too."""
BESIDE = ("worst", "worst but the file that pages", "two threads", "unseen rows of 2024")
INTRODUCTION = """<!-- Made by `make benchmarks`; change its source instead. -->

# Benchmarks

`make benchmarks` measures them all and writes this page; `python -m tests.benchmarks NAME` measures one.
Every benchmark checks first that what it times is right. Figures are medians, taken in turns with the peer's
on the same machine. `ratio` is pillm's figure over the peer's. Under each table stand the peers, and what bounds a figure.
"""
ERRORS = """How far predictions err, as a share of what was published or measured; `coverage` is the share of published figures
that lie inside their 90 % interval; `plan-start` is the time until a plan is there.
"""
_MET = {True: "yes", False: "**no**", None: "-"}

Line = dict[str, Any]


def page(lines: Sequence[Line]) -> str:
    """Return docs/benchmarks.md."""
    parts = [INTRODUCTION, *_machines(lines)]
    for part, ours in _grouped(lines, _part).items():
        parts += [
            "",
            f"## {TITLES.get(part, part)}",
            "",
            *(_errors(ours) if part == "plan" else _ratios(ours)),
            "",
            *_notes(ours),
        ]
    return "\n".join(parts) + "\n"


def _grouped(lines: Iterable[Line], by: Callable[[Line], str]) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(by(line), []).append(line)
    return found


def _part(line: Line) -> str:
    return str(line["benchmark"]).partition("-")[0]


def _benchmark(line: Line) -> str:
    """Return the benchmark that measures a figure: the longest name that it begins with, else that whose source says it."""
    figure = line["benchmark"]
    begun = [name for name in NAMES if f"{figure}-".startswith(f"{name}-")]
    return max(begun, key=len) if begun else next((name for name in NAMES if f'"{figure}"' in _source(name)), figure)


def _source(name: str) -> str:
    path = HERE / f"{name.replace('-', '_')}.py"
    return path.read_text("utf-8") if path.is_file() else ""


def _machines(lines: Sequence[Line]) -> Iterator[str]:
    """Say once what the figures were measured on, and which libraries took part."""
    told = {line["benchmark"]: "{cpu}, {cores} cores, {memory_gib} GiB, {system}".format(**line["machine"]) for line in lines}
    yield f"Measured on {_shared(told)}."
    versions: dict[str, set[str]] = {}
    for line in lines:
        for name, version in line["versions"].items():
            versions.setdefault(name, set()).add(version)
    yield f"Versions: {', '.join(' '.join([name, *sorted(found)]) for name, found in sorted(versions.items()))}."


def _ratios(lines: Sequence[Line]) -> Iterator[str]:
    """Return the table of figures that are promised in relation to the peer's."""
    yield "| benchmark | unit | pillm | peer | ratio | promised | met |\n|---|---|---:|---:|---:|---:|---|"
    for line in _told(lines):
        yield _ratio(f"`{line['benchmark']}`", line, line["peer"])
        if ALIKE in line["details"]:
            yield _ratio(f"`{line['benchmark']}`, {ALIKE}", line, line["details"][ALIKE])


def _ratio(name: str, line: Line, peer: float) -> str:
    goal, ratio = line["goal"], line["pillm"] / peer
    row = f"| {name} | {line['unit']} | {_number(line['pillm'])} | {_number(peer)} | {ratio:.3f} |"
    if goal is None:
        return f"{row} - | - |"
    lower = line["better"] == "lower"
    met = ratio <= goal if lower else ratio >= goal
    return f"{row} at {'most' if lower else 'least'} {_number(goal * peer)} ({goal:.3g} × the peer's) | {_MET[met]} |"


def _errors(lines: Sequence[Line]) -> Iterator[str]:
    """Return the table of figures that are promised in themselves: how far a plan errs, and how soon it is there."""
    yield ERRORS
    yield "| benchmark | pillm | promised | met | peer | beside |\n|---|---:|---:|---|---:|---|"
    for line in lines:
        details, shown = line["details"], _percent if line["unit"].startswith("of ") else _seconds
        figure, promised = shown(line["pillm"]), f"at most {shown(line['goal'] * line['peer'])}"
        if "coverage" in details:
            figure, promised = f"{_percent(details['coverage'])} inside", "85 to 95 % inside"
        peer = "-" if line["goal"] == 1 else shown(line["peer"])
        yield f"| `{line['benchmark']}` | {figure} | {promised} | {_MET[line['met']]} | {peer} | {_beside(details)} |"


def _beside(details: dict[str, Any]) -> str:
    found = [f"{details['rows']} rows"] if "rows" in details else []
    found += [f"{name} {_percent(details[name])}" for name in BESIDE if name in details]
    ratios = details.get("predicted / measured", {})
    found += [f"predicted / measured: {', '.join(f'{name} {ratio:g}' for name, ratio in ratios.items())}"] if ratios else []
    return "; ".join(found) or "-"


def _notes(lines: Sequence[Line]) -> Iterator[str]:
    """Return a paragraph for each benchmark: what it measures, against whom, what bounds it."""
    for name, all_sizes in _grouped(lines, _benchmark).items():
        ours = _told(all_sizes)
        told = [f"- **{name}**: {_measures(name)}"]
        peers = {line["benchmark"]: line["peer_is"] for line in ours if not (name.startswith("plan") and line["goal"] == 1)}
        told += [f"Peer: {_shared(peers)}."] if peers else []
        told += [f"Bound by: {_shared({line['benchmark']: line['limit'] for line in ours})}."]
        told += [f"Ratios by size, {whole}: {sizes}." for whole, sizes in _sizes(all_sizes)]
        yield " ".join(told)


def _measures(name: str) -> str:
    """Return the first line of a benchmark's docstring, without importing it: what it imports may not be installed."""
    return (ast.get_docstring(ast.parse(_source(name))) or "").partition("\n")[0]


def _shared(told: dict[str, str]) -> str:
    """Return what is told of figures: that of most of them first, then what is told of others, with their names."""
    words = [said for said, _ in Counter(told.values()).most_common()]
    most = words[0] if list(told.values()).count(words[0]) * 2 > len(told) else None
    parts = [most] if most else []
    for said in words[1:] if most else words:
        names = ", ".join(f"`{name}`" for name, one in told.items() if one == said)
        parts.append(f"of {names}: {said}")
    return "; ".join(parts)


def _told(lines: Iterable[Line]) -> list[Line]:
    """Return the figures without those of single sizes, where one stands for all sizes."""
    whole = _wholes(lines)
    return [line for line in lines if not any(line["benchmark"].startswith(f"{name}-") for name in whole)]


def _wholes(lines: Iterable[Line]) -> list[str]:
    return [line["benchmark"] for line in lines if "worst of all sizes" in line["details"]]


def _sizes(lines: Sequence[Line]) -> Iterator[tuple[str, str]]:
    for whole in _wholes(lines):
        found = [line for line in lines if line["benchmark"].startswith(f"{whole}-")]
        sizes = [f"{line['benchmark'].removeprefix(f'{whole}-')} {line['ratio']:.2f}" for line in found]
        yield f"`{whole}`", ", ".join(sizes)


def _number(value: float) -> str:
    """Write a figure with four digits that count, never with an exponent."""
    return f"{value:,.0f}" if abs(value) >= 1000 else format(Decimal(f"{value:.4g}"), "f")


def _percent(value: float) -> str:
    return f"{_number(float(f'{100 * value:.3g}'))} %"


def _seconds(value: float) -> str:
    return f"{value:.3g} s"
