"""Run benchmarks and print one JSON line per figure.

python -m tests.benchmarks [NAME ...] [--quick] [--write]

`--quick` measures less often. `--write` also writes `results.jsonl` and `docs/benchmarks.md`.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
PAGE = HERE.parent.parent / "docs" / "benchmarks.md"
NAMES = sorted(path.stem.replace("_", "-") for path in HERE.glob("*.py") if path.stem not in ("__main__", "harness"))
_MET = {True: "yes", False: "no", None: "-"}


def main(words: list[str] | None = None) -> int:
    """Run the named benchmarks, by default all; return 1 where a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="measure less often")
    parser.add_argument("--write", action="store_true", help="write results.jsonl and docs/benchmarks.md")
    chosen = parser.parse_args(words)
    unknown = set(chosen.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; known: {', '.join(NAMES)}")
    lines = []
    for name in chosen.names or NAMES:
        for result in import_module(f"tests.benchmarks.{name.replace('-', '_')}").run(chosen.quick):
            lines.append(result.to_json())
            print(json.dumps(lines[-1], ensure_ascii=False), flush=True)
    if chosen.write:
        kept = [line for line in read() if line["benchmark"] not in {one["benchmark"] for one in lines}]
        every = sorted([*kept, *lines], key=lambda line: line["benchmark"])
        RESULTS.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in every), "utf-8")
        PAGE.write_text(page(every), "utf-8")
    return 1 if any(line["met"] is False for line in lines) else 0


def read() -> list[dict[str, Any]]:
    """Return the committed results."""
    return [json.loads(line) for line in RESULTS.read_text("utf-8").splitlines()] if RESULTS.is_file() else []


def _goal(line: dict[str, Any]) -> str:
    """Return the goal as the page shows it; a dash where there is none."""
    return "-" if line["goal"] is None else f"{'<=' if line['better'] == 'lower' else '>='} {line['goal']:g}"


def page(lines: list[dict[str, Any]]) -> str:
    """Return docs/benchmarks.md."""
    parts = [
        "<!-- Made by `make benchmarks`; change its source instead. -->\n\n# Benchmarks\n",
        "`make benchmarks` measures them all and writes this page; `python -m tests.benchmarks NAME` measures one.",
        "Every benchmark checks first that what it times is right. Figures are medians, taken in turns with the peer's",
        "on the same machine.\n",
        "| benchmark | pillm | peer | ratio | goal | met |\n|---|---:|---:|---:|---:|---|",
    ]
    for line in lines:
        figures = f"{line['pillm']:.4g} {line['unit']} | {line['peer']:.4g} {line['unit']} | {line['ratio']:.2f}"
        parts.append(f"| `{line['benchmark']}` | {figures} | {_goal(line)} | {_MET[line['met']]} |")
    for line in lines:
        machine = line["machine"]
        versions = ", ".join(f"{name} {version}" for name, version in line["versions"].items())
        parts.append(
            f"\n**{line['benchmark']}**: the peer is `{line['peer_is']}`. What bounds it: {line['limit']}. Measured on "
            f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}; {versions}."
        )
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
