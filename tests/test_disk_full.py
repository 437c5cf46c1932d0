"""On a full disk labelling ends in one clean sentence, loses nothing that was paid for, and goes on once there is room.

The full form (`make test-full`) takes 32 sizes; both print what they counted.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

NEVER = (
    "lost", "doubled", "disordered", "unverified", "bought again", "failed", "left over", "said otherwise",
    "acknowledged and lost",
)  # fmt: skip


def with_mounts(folder: Path) -> list[str]:
    """Return the command that lets another mount a disk of its own; skip where this machine allows none."""
    for command in (["unshare", "--map-root-user", "--mount"], ["unshare", "--mount"]):
        try:
            tried = subprocess.run([*command, "mount", "-t", "tmpfs", "-o", "size=4k", "none", folder], capture_output=True)
        except FileNotFoundError:
            continue
        if tried.returncode == 0:
            return command
    pytest.skip("needs user namespaces, or to be root: a disk of a size of its own cannot be mounted")


@pytest.mark.parametrize("sizes", [8, pytest.param(32, marks=[pytest.mark.full, pytest.mark.timeout(1800)])])
def test_a_full_disk_loses_no_paid_answer_and_labelling_resumes(tmp_path: Path, sizes: int) -> None:
    command = [*with_mounts(tmp_path), sys.executable, "-m", "tests.fulldisk", "--sizes", str(sizes)]
    run = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    print(run.stdout.strip())
    found = json.loads(run.stdout)
    assert {name: found[name] for name in NEVER} == dict.fromkeys(NEVER, 0), run.stderr
    assert found["disks"] == found["finished"] == sizes
    assert found["full"] >= 0.9 * sizes, "the disks were too large"
    assert found["acknowledged"] > sizes, "the disks were too small"
    assert found["most not stored"] <= found["concurrency"]
