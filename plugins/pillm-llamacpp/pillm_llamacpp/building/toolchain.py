"""The tools that a build needs, and the file that tells cmake of a cross compiler."""

from __future__ import annotations

import os
import platform
import shutil
from typing import TYPE_CHECKING

import pillm

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pillm_llamacpp.building.targets import Target

PACKAGES = {
    "cmake": "cmake",
    "ninja": "ninja-build",
    "c++": "g++",
    "aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu",
    "qemu-aarch64-static": "qemu-user-static",
}
"""The package of Debian and its kin that each tool comes with."""
_CROSS = """set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR {machine})
set(CMAKE_C_COMPILER {machine}-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER {machine}-linux-gnu-g++)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
"""


def is_foreign(target: Target) -> bool:
    """Say whether a target's programs are for another kind of processor than this machine's."""
    return target.machine is not None and target.machine != platform.machine()


def compiler(target: Target) -> str:
    """Return the name of the C++ compiler for a target."""
    return f"{target.machine}-linux-gnu-g++" if is_foreign(target) else os.environ.get("CXX", "c++")


def require_tools(names: Iterable[str], purpose: str) -> None:
    """Raise MissingDependency, with the one line that installs them, where tools are not on the path."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        packages = " ".join(PACKAGES.get(name, name) for name in missing)
        raise pillm.MissingDependency(
            f"{purpose} needs {', '.join(missing)}. Nothing was changed. Get it with: apt install {packages}"
        )


def generator() -> list[str]:
    """Return the options that choose what cmake drives: ninja where it is there, else make."""
    return [] if shutil.which("ninja") is None and shutil.which("make") else ["-G", "Ninja"]


def require_build_tools(target: Target) -> None:
    """Raise MissingDependency where something that a build for the target needs is not installed."""
    driver = [] if shutil.which("make") else ["ninja"]
    require_tools(["cmake", *driver, compiler(target)], f"building llama.cpp for {target.title}")


def write_toolchain(target: Target, folder: Path) -> list[str]:
    """Write the file that tells cmake of the cross compiler, and return the option that names it; none for this machine."""
    if not is_foreign(target):
        return []
    path = folder / "toolchain.cmake"
    path.write_text(_CROSS.format(machine=target.machine), "utf-8")
    return [f"-DCMAKE_TOOLCHAIN_FILE={path}"]
