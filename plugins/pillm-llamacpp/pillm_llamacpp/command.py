"""The console script `pillm-llamacpp`: what must be done once, at installation."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pillm
from pillm_llamacpp import source


def main(arguments: list[str] | None = None) -> int:
    """Run the console script and return its exit code."""
    parser = argparse.ArgumentParser(prog="pillm-llamacpp", description="Set up what pillm-llamacpp needs from llama.cpp.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    fetch = verbs.add_parser("fetch", help="download llama.cpp's pinned source once; instant when it is there already")
    fetch.add_argument("--archive", type=Path, help="use this source archive instead of downloading it")
    verbs.add_parser("where", help="print where the unpacked source is")
    chosen = parser.parse_args(arguments)
    try:
        folder = source.fetch(chosen.archive) if chosen.verb == "fetch" else source.require()
    except pillm.PillmError as error:
        sys.stderr.write(f"pillm-llamacpp: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
