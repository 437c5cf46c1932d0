"""A test that falls asleep fails the run, in one process and in several."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.strict import ALLOWED

ROOT = Path(__file__).parents[1]
ITS_OWN = "pillm-hf/tests/test_surface.py"  # skips where a plugin is tested alone, which never happens here
TESTS = [
    path
    for path in sorted([*ROOT.glob("tests/*.py"), *ROOT.glob("plugins/*/tests/*.py")])
    if "skip" in path.read_text("utf-8") and not str(path).endswith(ITS_OWN)
]
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


def test_every_skip_of_this_repository_begins_with_a_reason_that_was_foreseen() -> None:
    found = 0
    for path in TESTS:
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            reason = _reason(call) if isinstance(call, ast.Call) else None
            if reason is not None:
                assert reason.startswith(ALLOWED), f"{path.name}:{call.lineno} skips for a reason of its own: {reason}"
                found += 1
    assert found > 10


def _reason(call: ast.Call) -> str | None:
    """Return how the reason of a skip begins, as far as it is written there."""
    name = ast.unparse(call.func)
    if name not in ("pytest.skip", "pytest.mark.skip", "pytest.mark.skipif"):
        return None
    words = {keyword.arg: keyword.value for keyword in call.keywords}
    value = words.get("reason", call.args[0] if call.args and name != "pytest.mark.skipif" else None)
    first = value.values[0] if isinstance(value, ast.JoinedStr) else value
    return str(first.value) if isinstance(first, ast.Constant) else None


def _pytest(folder: Path, workers: list[str]) -> subprocess.CompletedProcess[str]:
    plugins = ["-p", "tests.strict", "-p", "xdist.plugin", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *plugins, *workers, str(folder), "--rootdir", str(folder)]
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # the others would be loaded in vain
    return subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=False)
