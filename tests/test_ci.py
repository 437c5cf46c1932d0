"""What `.ci/tools` installs on a machine of continuous integration."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.programs import need

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / ".ci" / "tools"
PACKAGES = {
    "aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu", "c++": "g++", "dh": "debhelper", "dpkg-deb": "dpkg",
    "groff": "groff-base", "localedef": "locales", "ninja": "ninja-build", "qemu-aarch64-static": "qemu-user-static",
    "readelf": "binutils", "setpriv": "util-linux",
    "systemd-analyze": "systemd", "vulkaninfo": "vulkan-tools",
}  # fmt: skip
"""Debian's packages of programs; the others are called as their program."""
APT = """#!/bin/sh
# knows every package but one, and refuses all where that one is among them, as apt does
case "$*" in *update*) exit 0 ;; *{unknown}*) exit 100 ;; esac
while [ "${{1#-}}" != "$1" ] || [ "$1" = install ]; do shift; done
printf '%s\\n' "$@" >>"{log}"
"""


def install(folder: Path, unknown: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run the script with an apt that does not know a package; return how it ended and what was installed."""
    (folder / "apt-get").write_text(APT.format(unknown=unknown, log=folder / "log"))
    (folder / "apt-get").chmod(0o755)
    (folder / "log").touch()
    told = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run([TOOLS], env=told, capture_output=True, text=True, check=False)
    return done, (folder / "log").read_text().split()


def test_a_package_that_apt_does_not_know_keeps_no_other_from_being_installed(tmp_path: Path) -> None:
    done, installed = install(tmp_path, "glslc")
    assert done.returncode == 0, done.stderr
    assert "not installed: glslc" in done.stderr
    assert {"g++", "qemu-user-static", "lintian"} <= {*installed}
    assert "glslc" not in installed


def test_without_what_the_tests_need_it_fails(tmp_path: Path) -> None:
    done, installed = install(tmp_path, "python3-venv")
    assert done.returncode == 100
    assert installed == []


def test_it_installs_every_program_that_a_test_would_skip_without() -> None:
    asked = {"qemu-aarch64-static", "aarch64-linux-gnu-g++"}
    for path in [*ROOT.glob("tests/*.py"), *ROOT.glob("plugins/*/tests/*.py")]:
        for call in re.findall(r"\bneed\(([^)]*)\)", path.read_text("utf-8")):
            asked |= set(re.findall(r'"([^"]+)"', call))
    assert len(asked) > 8
    known = set(re.findall(r"[\w.+-]+", re.sub(r"#.*", "", TOOLS.read_text("utf-8")))) | {
        "dpkg",
        "util-linux",
    }  # the last two are in every Debian
    assert {PACKAGES.get(name, name) for name in asked} <= known


def test_the_scripts_are_clean() -> None:
    need("shellcheck")
    done = subprocess.run(["shellcheck", *sorted(TOOLS.parent.iterdir())], capture_output=True, text=True, check=False)
    assert done.stdout == ""
