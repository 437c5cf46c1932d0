"""A hostile hub: nothing of it runs, nothing that floats is read, and each of twelve cases ends with the right exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("hostile_hub.py")


@pytest.mark.parametrize("flags", [[], ["-O"]], ids=["python", "python-O"])
def test_twelve_cases_execute_nothing_read_nothing_unpinned_and_end_right(tmp_path: Path, flags: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, *flags, str(SCRIPT), str(tmp_path)],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ran" not in done.stdout.split()
    told = json.loads(done.stderr.strip().splitlines()[-1])
    assert told["codes"] == told["wanted"], done.stderr
    assert len(told["wanted"]) == 12
    assert (told["executed"], told["unpinned"]) == ([], [])
    assert told["read"] > 12
    assert set(told["kinds"]) <= {".json", ".safetensors", ".txt"}
    assert told["optimised"] == bool(flags)
