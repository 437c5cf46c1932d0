"""Choose how EasyDistill is started, and write the command."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pillm
from pillm_easydistill.jobfiles import JobFiles, write_accelerate_config

if TYPE_CHECKING:
    from pillm_easydistill.installation import Installation
    from pillm_easydistill.options import EasyDistillOptions

_PLAIN = re.compile(r"[\w./+-]+", re.ASCII)
_DEVICES = ("nvidia[0-9]*", "kfd", "dxg")  # what the drivers of NVIDIA, AMD and Windows' Linux put there
_COUNT = "import torch; print(torch.cuda.device_count())"


@dataclass(frozen=True, slots=True)
class Command:
    """What is run: an argument list, and what its environment adds."""

    argv: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


def count_gpus(python: str) -> int:
    """Return how many GPUs the torch of an interpreter can use; it is not asked where this machine shows none."""
    if not any(found for pattern in _DEVICES for found in Path("/dev").glob(pattern)):
        return 0
    done = subprocess.run([python, "-c", _COUNT], capture_output=True, text=True, check=False)
    last = (done.stdout.strip().splitlines() or [""])[-1]
    return int(last) if done.returncode == 0 and last.isdigit() else 0


def command(options: EasyDistillOptions, found: Installation, files: JobFiles, gpus: int) -> Command:
    """Return the command for the files of a job.

    Raises ConfigError where EasyDistill's own command is asked for and would not survive these paths.
    """
    kind = options.launch if options.launch != "auto" else "direct" if _single(options, gpus) else "accelerate"
    config = ("--config", str(files.config))
    if kind == "direct":
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]  # or the Trainer would spread over all
        return Command((found.python, str(found.train_script), *config), {"CUDA_VISIBLE_DEVICES": first} if gpus else {})
    if kind == "accelerate":
        settings = options.accelerate_config
        if settings is None:
            settings = files.folder / "accelerate.yaml"
            write_accelerate_config(settings, gpus)
        start = (found.python, "-m", "accelerate.commands.launch", "--config_file", str(settings.resolve()))
        return Command((*start, str(found.train_script), *config))
    _require_plain(found, files)
    return Command((found.python, "-m", "easydistill.cli", *config), {"PATH": _path_of(found.python)})


def _single(options: EasyDistillOptions, gpus: int) -> bool:
    return gpus == 0 or options.white


def _require_plain(found: Installation, files: JobFiles) -> None:
    """Refuse what version 1's own command would break on: it joins its paths into one line for a shell."""
    if not found.accelerate_config.is_file():
        raise pillm.ConfigError(
            f"launch=cli needs {found.accelerate_config}, which only a checkout has. Install EasyDistill 1 with "
            "pip install --editable, or choose launch=accelerate."
        )
    for path in (found.train_script, found.accelerate_config, files.config):
        if not _PLAIN.fullmatch(str(path)):
            raise pillm.ConfigError(
                f"launch=cli cannot be used with the path {path}: EasyDistill 1 gives it to a shell unquoted. Choose "
                "launch=accelerate, or a folder whose path has only letters without accents, digits, and ._-+/."
            )


def _path_of(python: str) -> str:
    """Return a PATH on which `python` and `accelerate` are those of an interpreter: version 1 starts both by name."""
    where = Path(shutil.which(python) or python).absolute().parent
    return os.pathsep.join((str(where), os.environ.get("PATH", os.defpath)))
