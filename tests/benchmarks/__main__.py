"""Run benchmarks and print one JSON line per figure.

python -m tests.benchmarks [NAME ...] [--quick] [--write | --page]

`--quick` measures less often. `--write` also writes `results.jsonl` and `docs/benchmarks.md`. `--page` measures nothing and
writes the page anew from the committed results.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.benchmarks.page import NAMES, page

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
PAGE = HERE.parent.parent / "docs" / "benchmarks.md"


def main(words: list[str] | None = None) -> int:
    """Run the named benchmarks, by default all; return 1 where a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="measure less often")
    parser.add_argument("--write", action="store_true", help="write results.jsonl and docs/benchmarks.md")
    parser.add_argument("--page", action="store_true", help="measure nothing; write docs/benchmarks.md from results.jsonl")
    chosen = parser.parse_args(words)
    if chosen.page:
        PAGE.write_text(page(read()), "utf-8")
        return 0
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


if __name__ == "__main__":
    sys.exit(main())
