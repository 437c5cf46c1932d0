"""The README's Python example and its commands run, on the ten rows of `pillm init`."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pillm.cli.init_command import STARTER

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


def block(language: str) -> str:
    """Return the one code block of a language."""
    found = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert len(found) == 1, language
    return str(found[0])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Lay out what `pillm init` writes."""
    (tmp_path / "prompts.jsonl").write_bytes((STARTER / "prompts.jsonl").read_bytes())
    return tmp_path


def environment() -> dict[str, str]:
    """Return an environment in which `pillm` is this one, and torch leaves room for others."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "HF_HUB_OFFLINE": "1"}


@pytest.mark.full
def test_the_python_example_runs(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block("python")], cwd=project, env=environment(), capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "pp512" in done.stdout
    assert "Fits" in done.stdout
    files = {path for path in (project / "run" / "export").glob("*.gguf") if not path.name.endswith(".imatrix.gguf")}
    assert len(files) == 2


def test_the_verbs_run_one_by_one(project: Path) -> None:
    for line in block("sh").strip().splitlines():
        words = ["bash", "-euo", "pipefail", "-c", line]
        done = subprocess.run(words, cwd=project, env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert done.stdout, line
    assert shlex.split(block("sh").strip().splitlines()[0])[1] == "label"


def test_the_recipe_of_the_readme_is_a_recipe(tmp_path: Path) -> None:
    import pillm

    (tmp_path / "recipe.yaml").write_text(block("yaml"), "utf-8")
    assert pillm.load_recipe(tmp_path / "recipe.yaml").name == "recipe"


def test_the_readme_invents_no_figure() -> None:
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    assert not re.findall(r"\d+(?:\.\d+)?\s*(?:%|tokens/s|t/s|tok/s|times faster)", prose)
