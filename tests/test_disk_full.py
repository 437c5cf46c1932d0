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
    pytest.skip("needs user namespaces, or root: a disk of a size of its own cannot be mounted")


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


TRAINING = """
mount -t tmpfs -o size=$1 none "$2" || exit 9
words="train $3 --trainer lora -o base=nano-base -o save_steps=1 -o num_train_epochs=1 -o per_device_train_batch_size=2"
"$4" -m pillm $words --out "$2/out" >"$5/first" 2>&1; echo $? >"$5/codes"
ls -A "$2"/.out.*/.checkpoints >"$5/left" 2>&1
mount -o remount,size=256m "$2"
"$4" -m pillm $words --out "$2/out" >"$5/second" 2>&1; echo $? >>"$5/codes"
"$4" -m pillm verify "$2/out" >"$5/verified" 2>&1; echo $? >>"$5/codes"
"""


@pytest.mark.full
@pytest.mark.parametrize("size", ["32k", *(pytest.param(f"{size}m", marks=pytest.mark.full) for size in range(1, 9))])
def test_a_training_on_a_full_disk_ends_in_one_sentence_and_goes_on_once_there_is_room(tmp_path: Path, size: str) -> None:
    (tmp_path / "disk").mkdir()
    rows = [{"id": f"r{number}", "user": f"say {number}", "assistant": f"said {number}"} for number in range(8)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    places = [size, str(tmp_path / "disk"), str(tmp_path / "rows.jsonl"), sys.executable, str(tmp_path)]
    command = [*with_mounts(tmp_path / "disk"), "sh", "-c", TRAINING, "sh", *places]
    run = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    first, second = ((tmp_path / name).read_text("utf-8") for name in ("first", "second"))
    codes = (tmp_path / "codes").read_text().split()
    assert codes == ["1", "0", "0"], (first, second)
    assert "no space is left on the disk. Nothing half-written was kept; free some space" in first.splitlines()[-1]
    assert "Traceback" not in first
    assert ".part" not in (tmp_path / "left").read_text()
