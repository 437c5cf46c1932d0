"""The console script `pillm-llamacpp`: what must be done once, at installation, and llama.cpp's own programs."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import pillm
from pillm_llamacpp import source
from pillm_llamacpp.building.targets import PROGRAMS, TARGETS

_EVERY = 10.0


def main(arguments: list[str] | None = None) -> int:
    """Run the console script and return its exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        if chosen.verb == "build":
            _build(chosen)
        else:
            folder = source.fetch(chosen.archive) if chosen.verb == "fetch" else source.require()
            sys.stdout.write(f"{folder}\n")
    except pillm.PillmError as error:
        sys.stderr.write(f"pillm-llamacpp: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("pillm-llamacpp: interrupted; the same command goes on where it was.\n")
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pillm-llamacpp", description="Set up what pillm-llamacpp needs from llama.cpp.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    fetch = verbs.add_parser("fetch", help="download llama.cpp's pinned source once; instant when it is there already")
    verbs.add_parser("where", help="print where the unpacked source is")
    make = verbs.add_parser("build", help="compile llama.cpp's own programs from the pinned source, and print where they are")
    for verb in (fetch, make):
        verb.add_argument("--archive", type=Path, help="use this source archive instead of downloading it")
    machines = ", ".join(f"{name}: {target.title}" for name, target in TARGETS.items())
    make.add_argument("--target", choices=TARGETS, default="this", help=f"what they are for ({machines}); by default this")
    make.add_argument("--programs", default=",".join(PROGRAMS), help="which, with commas; by default %(default)s")
    make.add_argument("--out", type=Path, help="folder to put them in; by default the user's cache, where runners find them")
    make.add_argument("--jobs", type=int, help="compile so many files at once; by default what cores and memory allow")
    make.add_argument("--emulate", action="store_true", help="run each once on the target's processor, as qemu plays it")
    return parser


def _build(chosen: argparse.Namespace) -> None:
    from pillm_llamacpp.building.compiling import Build, build, emulate

    programs = tuple(name.strip() for name in chosen.programs.split(",") if name.strip())
    asked = Build(
        target=TARGETS[chosen.target], programs=programs, out=chosen.out, archive=chosen.archive, jobs=chosen.jobs or None
    )
    built = build(asked, pillm.Progress("build", (_Lines(),)))
    if chosen.emulate:
        emulate(built, programs)
        sys.stderr.write(f"build: {', '.join(programs)} run on a {built.target.cpu} under qemu\n")
    sys.stdout.write("".join(f"{built.path(name)}\n" for name in programs))


class _Lines:
    """Tells the progress of a build on stderr: every step on a terminal, elsewhere a line now and then."""

    def __init__(self) -> None:
        self._said = 0.0
        self._began = time.monotonic()
        self._open = False

    def __call__(self, event: pillm.Event) -> None:
        """Take one event."""
        if event.kind == "advance":
            self._count(event)
        elif event.message:
            sys.stderr.write("\n" * self._open + f"build: {event.message}\n")
            self._open = False

    def _count(self, event: pillm.Event) -> None:
        now, terminal = time.monotonic(), sys.stderr.isatty()
        if event.done == event.total or now - self._said >= (0.1 if terminal else _EVERY):
            self._said = now
            text = f"build: {event.done} of {event.total} steps, {now - self._began:.0f} s"
            sys.stderr.write(f"\r\x1b[K{text}" if terminal else f"{text}\n")
            sys.stderr.flush()
            self._open = terminal


if __name__ == "__main__":
    sys.exit(main())
