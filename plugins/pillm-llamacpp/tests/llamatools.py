"""llama.cpp's own tools, built once from the pinned source into the user's cache."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from pillm_llamacpp import source

TOOLS = ("llama-imatrix", "llama-quantize", "llama-perplexity")
_PREFIX = f"llama_cpp_python-{source.VERSION}/vendor/llama.cpp/"


def run_tool(name: str, *arguments: object) -> str:
    """Run a tool and return all that it said; skip the test where it cannot be built here."""
    done = subprocess.run(
        [str(tool(name)), *map(str, arguments)], capture_output=True, text=True, check=False, errors="replace", timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def tool(name: str) -> Path:
    """Return the path of a tool, built where that was not done before."""
    folder = source.cache_folder() / f"tools-{source.VERSION}-{source.SHA256[:8]}"
    path = folder / "bin" / name
    if not path.is_file():
        if not (source.archive_path().is_file() and shutil.which("cmake") and shutil.which("ninja") and shutil.which("c++")):
            pytest.skip("cmake, ninja, a compiler and the source archive are needed to build llama.cpp's tools")
        with (source.cache_folder() / ".tools.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.is_file():
                _build(folder)
    return path


def _build(folder: Path) -> None:
    work = folder.with_name(folder.name + ".work")
    shutil.rmtree(work, ignore_errors=True)
    with tarfile.open(source.archive_path(), "r:gz") as tar:
        for member in tar:
            # its .git is a stub that makes the build start over and over
            if member.name.startswith(_PREFIX) and member.name != f"{_PREFIX}.git" and member.isreg():
                tar.extract(member, work, filter="data")
    tree = work / _PREFIX
    options = {
        "CMAKE_BUILD_TYPE": "Release", "LLAMA_BUILD_TESTS": "OFF", "LLAMA_BUILD_EXAMPLES": "OFF", "LLAMA_OPENSSL": "OFF",
        "LLAMA_USE_PREBUILT_UI": "OFF", "BUILD_SHARED_LIBS": "OFF", "LLAMA_BUILD_COMMIT": source.COMMIT,
    }  # fmt: skip
    quiet = {"check": True, "stdout": subprocess.DEVNULL}
    given = [f"-D{key}={value}" for key, value in options.items()]
    subprocess.run(["cmake", "-S", str(tree), "-B", str(work / "build"), "-G", "Ninja", *given], **quiet)
    jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count() or 1))
    subprocess.run(["cmake", "--build", str(work / "build"), "--target", *TOOLS, "-j", jobs], **quiet)
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    for name in TOOLS:
        shutil.copy2(work / "build" / "bin" / name, folder / "bin" / name)
    shutil.rmtree(work)
