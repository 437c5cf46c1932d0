"""llama.cpp's own tools, built from the pinned source into the user's cache: what tests and benchmarks compare with."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pillm
from pillm_llamacpp import source

_PREFIX = f"llama_cpp_python-{source.VERSION}/vendor/llama.cpp/"
_OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release", "LLAMA_BUILD_TESTS": "OFF", "LLAMA_BUILD_EXAMPLES": "OFF", "LLAMA_OPENSSL": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF", "BUILD_SHARED_LIBS": "OFF", "LLAMA_BUILD_COMMIT": source.COMMIT,
}  # fmt: skip


def tool(name: str) -> Path:
    """Return the path of a tool such as llama-bench, built where that was not done before; it takes minutes the first time.

    Raises MissingDependency where it cannot be built here, BackendError where building it failed.
    """
    folder = source.cache_folder() / f"tools-{source.VERSION}-{source.SHA256[:8]}"
    path = folder / "bin" / name
    if not path.is_file():
        if not (source.archive_path().is_file() and shutil.which("cmake") and shutil.which("ninja") and shutil.which("c++")):
            raise pillm.MissingDependency(
                f"{name} is built with cmake, ninja, a C++ compiler and the source archive, and one of them is missing. "
                f"Install them, and get the archive with: {source.REMEDY}"
            )
        with (source.cache_folder() / ".tools.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.is_file():
                _build(name, folder)
    return path


def _build(name: str, folder: Path) -> None:
    """Build one tool; the objects stay, so that the next one is quick."""
    work = folder / "build"
    if not (work / "build.ninja").is_file():
        shutil.rmtree(folder / "source", ignore_errors=True)
        with tarfile.open(source.archive_path(), "r:gz") as tar:
            for member in tar:
                # its .git is a stub that makes the build start over and over
                if member.name.startswith(_PREFIX) and member.name != f"{_PREFIX}.git" and member.isreg():
                    tar.extract(member, folder / "source", filter="data")
        given = [f"-D{key}={value}" for key, value in _OPTIONS.items()]
        _run(["cmake", "-S", str(folder / "source" / _PREFIX), "-B", str(work), "-G", "Ninja", *given])
    jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count() or 1))
    _run(["cmake", "--build", str(work), "--target", name, "-j", jobs])
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    part = folder / "bin" / f".{name}.part"
    shutil.copy2(work / "bin" / name, part)
    part.replace(folder / "bin" / name)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise pillm.BackendError(f"{command[0]} could not build llama.cpp's tools. It last said:\n{tail}")
