"""A test that falls asleep fails the run, in one process and in several."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
AWAKE = "def test_awake():\n    pass\n"
A_TEST = f"import pytest\n\n@pytest.mark.skip('{{}}')\ndef test_asleep():\n    pass\n\n{AWAKE}"
A_MODULE = f"import pytest\n\npytest.skip('{{}}', allow_module_level=True)\n\n{AWAKE}"


@pytest.mark.parametrize(
    ("asleep", "workers"), [(A_TEST, []), (A_MODULE, ["-n", "2"])], ids=["a test, one process", "a module, two processes"]
)
def test_a_skip_that_nobody_foresaw_fails_the_run_and_is_named(asleep: str, workers: list[str], tmp_path: Path) -> None:
    (tmp_path / "test_awake.py").write_text(AWAKE)
    (tmp_path / "test_asleep.py").write_text(asleep.format("needs a GPU: none is here"))
    assert _pytest(tmp_path, workers).returncode == 0
    (tmp_path / "test_asleep.py").write_text(asleep.format("not today"))
    run = _pytest(tmp_path, workers)
    assert run.returncode == 1
    assert "UNFORESEEN SKIP" in run.stdout
    assert "not today" in run.stdout


def _pytest(folder: Path, workers: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "tests.strict", "-p", "no:cacheprovider", *workers, str(folder)]
    return subprocess.run([*command, "--rootdir", str(folder)], cwd=ROOT, capture_output=True, text=True, check=False)
