"""Find EasyDistill and tell its versions apart, by looking at its files: nothing of it is executed.

The version number says nothing: the empty package of that name and version 1 both call themselves 0.0.1.
"""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import pillm

Kind: TypeAlias = Literal["absent", "empty", "v1", "v2"]
PACKAGE = "easydistill"
TRAINING_NEEDS = ("torch", "transformers", "trl", "datasets", "accelerate", "jsonlines", "jinja2")
"""What training with version 1 imports; its own setup.py leaves out accelerate and jsonlines, and asks for vLLM."""
DATA_NEEDS = ("pydantic", "openai", "yaml", "dotenv", "tqdm")
_PIP_NAMES = {"yaml": "pyyaml", "dotenv": "python-dotenv"}

_SOURCE = "https://github.com/modelscope/easydistill"
_PINS = "torch transformers==4.51.1 tokenizers==0.21.1 trl==0.17.0 accelerate datasets jsonlines jinja2"
REMEDY = {
    "v1": f"Version 1 needs an older transformers than pillm-hf, so give it an environment of its own: "
    f"git clone --branch v1.0.0 {_SOURCE}; python3 -m venv easydistill-1; "
    f"easydistill-1/bin/pip install --no-deps --editable ./easydistill; "
    f"easydistill-1/bin/pip install {_PINS}; then set the option python=easydistill-1/bin/python.",
    "v2": f'Version 2 is not on the package index: python3 -m venv easydistill-2; easydistill-2/bin/pip install "git+{_SOURCE}'
    '@v2.0.0"; then set the option python=easydistill-2/bin/python.',
}
_FOUND = {
    "absent": "EasyDistill is not installed for {python}.",
    "empty": "the package easydistill that is installed for {python} has nothing in it that runs (no easydistill.cli): it is "
    "the empty one of that name on the package index. Remove it: {python} -m pip uninstall easydistill.",
    "v1": "EasyDistill of {python} is version 1, and its data jobs are those of version 2.",
    "v2": "EasyDistill of {python} is version 2, which makes data and cannot train.",
}

_LOOK = """\
import importlib.util, json, sys
sys.path[:] = [entry for entry in sys.path if entry]
def home(name):
    spec = importlib.util.find_spec(name)
    return spec and (list(spec.submodule_search_locations or []) or [spec.origin])[0]
print(json.dumps({name: home(name) for name in sys.argv[1:]}))
"""
"""Says where packages are without importing one; the current folder is left out, a checkout lying there is not installed."""


@dataclass(frozen=True, slots=True)
class Installation:
    """What one interpreter has of EasyDistill."""

    python: str
    kind: Kind
    folder: Path | None
    missing: tuple[str, ...] = ()

    @property
    def train_script(self) -> Path:
        """Return the script that trains in a single process."""
        return self._package / "kd" / "train.py"

    @property
    def accelerate_config(self) -> Path:
        """Return the accelerate configuration that version 1's command line uses."""
        return self._package.parent / "configs" / "accelerate_config" / "muti_gpu.yaml"

    @property
    def _package(self) -> Path:
        if self.folder is None:
            raise pillm.MissingDependency(_FOUND["absent"].format(python=self.python))
        return self.folder


def require(python: str | None, kind: Literal["v1", "v2"]) -> Installation:
    """Return an interpreter's EasyDistill of that version.

    Raises MissingDependency, with what to install, where it has another or none, and ConfigError where it does not run.
    """
    found = look(python, TRAINING_NEEDS if kind == "v1" else DATA_NEEDS)
    if found.kind != kind:
        raise pillm.MissingDependency(f"{_FOUND[found.kind].format(python=found.python)} {REMEDY[kind]}")
    if found.missing:
        names = " ".join(_PIP_NAMES.get(name, name) for name in found.missing)
        raise pillm.MissingDependency(
            f"EasyDistill of {found.python} lacks {', '.join(found.missing)}: {found.python} -m pip install {names}. "
            f"{REMEDY[kind]}"
        )
    return found


def look(python: str | None, needs: tuple[str, ...] = ()) -> Installation:
    """Return what an interpreter, by default this one, has of EasyDistill, and which of the modules it lacks."""
    command = _absolute(python) if python else sys.executable
    try:
        done = subprocess.run(
            [command, "-c", _LOOK, PACKAGE, *needs],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        homes = json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise pillm.ConfigError(f"python={command} is no Python that runs ({error}).") from error
    if homes is None:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise pillm.ConfigError(f"python={command} is no Python that runs ({last}).")
    folder = Path(homes[PACKAGE]) if homes[PACKAGE] else None
    return Installation(command, classify(folder), folder, tuple(name for name in needs if not homes[name]))


def _absolute(python: str) -> str:
    """Return an interpreter's path for a child that runs elsewhere; links stay, a virtual environment is known by them."""
    given = Path(python).expanduser()
    return str(Path(shutil.which(given) or given).absolute())


def classify(folder: Path | None) -> Kind:
    """Return which EasyDistill a package folder holds, read from its files."""
    if folder is None:
        return "absent"
    if "process" in _functions(folder / "cli.py") and (folder / "kd" / "train.py").is_file():
        return "v1"
    if (folder / "cli" / "__init__.py").is_file() and _version(folder / "__init__.py").startswith("2"):
        return "v2"
    return "empty"


def _functions(path: Path) -> set[str]:
    return {node.name for node in _statements(path) if isinstance(node, ast.FunctionDef)}


def _version(path: Path) -> str:
    for node in _statements(path):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            names = {target.id for target in node.targets if isinstance(target, ast.Name)}
            if "__version__" in names:
                return str(node.value.value)
    return ""


def _statements(path: Path) -> list[ast.stmt]:
    try:
        return ast.parse(path.read_text("utf-8")).body
    except (OSError, ValueError, SyntaxError):
        return []
