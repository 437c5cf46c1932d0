"""A Cortex-A72 played by qemu has the instructions of the real one, and lacks those that it lacks."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pillm_llamacpp.building.emulation import QEMU, Emulator
from pillm_llamacpp_boardtools import CROSS, need, script

import pillm

DOTPROD = """
#include <arm_neon.h>
#include <stdio.h>
int main(void) {
    int8x16_t ones = vdupq_n_s8(1);
    printf("%d\\n", vgetq_lane_s32(vdotq_s32(vdupq_n_s32(0), ones, ones), 0));
}
"""


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a program that needs an instruction of newer processors."""
    need(CROSS, QEMU)
    folder = tmp_path_factory.mktemp("newer")
    (folder / "dot.c").write_text(DOTPROD)
    command = [CROSS, "-static", "-O1", "-march=armv8.2-a+dotprod", str(folder / "dot.c"), "-o", str(folder / "dot")]
    subprocess.run(command, check=True)
    return folder / "dot"


def test_a_program_for_a_newer_processor_is_told_as_such(newer: Path) -> None:
    with pytest.raises(pillm.BackendError, match=r"dot on a cortex-a72 under qemu: .*built for another CPU \(SIGILL\)"):
        Emulator("cortex-a72").run([newer], timeout=60)


def test_the_same_program_runs_on_the_processor_that_it_was_built_for(newer: Path) -> None:
    assert Emulator("cortex-a76").run([newer], timeout=60) == "4\n"


def test_a_shell_in_between_hides_no_reason(newer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu = subprocess.run(["sh", "-c", f"command -v {QEMU}"], capture_output=True, text=True, check=True).stdout.strip()
    script(tmp_path / QEMU, f'"{qemu}" "$@"; exit $?')  # dies with 132, as a shell says it
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(pillm.BackendError, match="built for another CPU"):
        Emulator("cortex-a72").run([newer], timeout=60)


def test_what_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / QEMU, "sleep 30")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(pillm.Unavailable, match="did not end within 0 s under qemu"):
        Emulator("cortex-a72").run(["slow"], timeout=0.2)


def test_an_old_qemu_is_told_from_a_wrong_program(newer: Path) -> None:
    with pytest.raises(pillm.BackendError, match="too old to play"):
        Emulator("cortex-z99").run([newer], timeout=60)


def test_without_qemu_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pillm.MissingDependency, match="apt install qemu-user-static"):
        Emulator("cortex-a72").check()
