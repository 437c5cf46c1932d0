"""Compile llama.cpp's programs from the pinned source, once for each target."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import pillm
from pillm_llamacpp import source
from pillm_llamacpp.building.built import Built, kept_folder, work_folder
from pillm_llamacpp.building.emulation import Emulator
from pillm_llamacpp.building.targets import PROGRAMS, Target, check_programs
from pillm_llamacpp.building.toolchain import compiler, generator, require_build_tools, write_toolchain

_BYTES_PER_JOB = 1_500_000_000
"""Memory that compiling the server's largest file takes."""
_NEEDED_BYTES = 900_000_000
"""Disk that the unpacked source and a static build of all programs take."""
_TREE_BYTES = 400_000_000
_STEP = re.compile(r"\[\s*(\d+)(?:/(\d+)|%)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A build that is asked for: where its programs go, by default the user's cache; from which archive; how many jobs."""

    target: Target
    programs: tuple[str, ...] = PROGRAMS
    out: Path | None = None
    archive: Path | None = None
    jobs: int | None = None

    @property
    def built(self) -> Built:
        """Return where the result is, or will be."""
        return Built(self.target, self.out or kept_folder(self.target))


def build(asked: Build, progress: pillm.Progress) -> Built:
    """Compile the programs that are not there yet and return where they are; an interrupted build goes on where it was.

    Raises ConfigError for a program that llama.cpp does not have, MissingDependency where a tool is missing, StorageError
    where the disk is too small, BackendError where the compiler fails, and what fetching the source raises.
    """
    check_programs(asked.programs)
    built = asked.built
    with source.lock(kept_folder(asked.target)):
        wanted = built.lacking(asked.programs)
        if not wanted:
            progress.up_to_date(f"{', '.join(asked.programs)}: up to date")
            return built
        require_build_tools(asked.target)
        work = work_folder(asked.target)
        with _storage(built.folder):
            tree = _tree(asked.archive, work, progress)
            made = _compile(asked, wanted, tree, progress)
            _install(made, wanted, built)
            built.record(wanted, _version(asked.target), asked.target.options(wanted))
            shutil.rmtree(work)
    progress.finish(str(built.folder))
    return built


def emulate(built: Built, programs: tuple[str, ...]) -> None:
    """Run each program once on the target's processor as qemu plays it.

    Raises ConfigError for programs of this machine, MissingDependency without qemu, BackendError where one does not run.
    """
    if built.target.cpu is None:
        raise pillm.ConfigError(f"programs for {built.target.title} run here: there is nothing to emulate.")
    for program in programs:
        Emulator(built.target.cpu).run([built.require(program), "--help"], timeout=120.0)


def _tree(archive: Path | None, work: Path, progress: pillm.Progress) -> Path:
    """Return the source as a build needs it: whole, below the folder in which the work survives a kill."""
    tree = work / "llama.cpp"
    if not tree.is_dir():
        work.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(work).free
        if free < _NEEDED_BYTES:
            raise pillm.StorageError(
                f"{work} has {free / 1e6:.0f} MB free; a build takes {_NEEDED_BYTES / 1e6:.0f} MB until it is done. "
                "Nothing was changed. Make room, or set XDG_CACHE_HOME to a folder of another disk."
            )
        source.fetch(archive)
        progress.note("unpacking the source")
        part = work / "llama.cpp.part"
        shutil.rmtree(part, ignore_errors=True)
        source.unpack(source.archive_path(), part, most=_TREE_BYTES)
        part.rename(tree)
    return tree


def _compile(asked: Build, programs: tuple[str, ...], tree: Path, progress: pillm.Progress) -> Path:
    folder = tree.with_name("build")
    switches = [f"-D{name}={value}" for name, value in asked.target.options(programs).items()]
    cross = write_toolchain(asked.target, tree.parent)
    jobs = asked.jobs or _jobs()
    log = tree.with_name("build.log")
    log.unlink(missing_ok=True)
    progress.note(f"compiling {', '.join(programs)} for {asked.target.title} with {compiler(asked.target)}, {jobs} at once")
    _run(["cmake", "-S", str(tree), "-B", str(folder), *generator(), *cross, *switches], log, progress)
    _run(["cmake", "--build", str(folder), "--target", *programs, "-j", str(jobs)], log, progress)
    return folder / "bin"


def _jobs() -> int:
    from pillm_llamacpp.inference.machine import free_memory

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    told = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", "")
    return int(told) if told.isdigit() and int(told) else max(1, min(cores, free_memory() // _BYTES_PER_JOB))


def _run(argv: list[str], log: Path, progress: pillm.Progress) -> None:
    """Run one command of the build; all that it says goes to the log, its count of steps to the progress."""
    last: deque[str] = deque(maxlen=12)
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process,
    ):
        done = total = 0
        for line in process.stdout or ():
            file.write(line)
            last.append(line.rstrip())
            if found := _STEP.match(line):
                number, out_of = int(found[1]), int(found[2] or 100)
                if out_of != total:
                    progress.start(total=(total := out_of), unit="steps")
                    done = 0
                progress.advance(max(0, number - done))
                done = max(done, number)
    if process.returncode:
        tail = "\n".join(last)
        raise pillm.BackendError(
            f"{' '.join(argv[:2])} failed with status {process.returncode}; no program was put in place. All that it said is "
            f"in {log}; the same command goes on where it was. It ended with:\n{tail}"
        )


def _install(made: Path, programs: tuple[str, ...], built: Built) -> None:
    (built.folder / "bin").mkdir(parents=True, exist_ok=True)
    for name in programs:
        part = built.path(f".{name}.part")
        shutil.copy2(made / name, part)
        part.replace(built.path(name))


def _version(target: Target) -> str:
    done = subprocess.run([compiler(target), "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0] or compiler(target)


class _storage:  # noqa: N801 - reads as a statement
    """Tell of a disk that is full or cannot be written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, OSError):
            raise pillm.StorageError(
                f"{error.filename or self._folder} cannot be written: {error.strerror}. What was built before is as it was."
            ) from error
