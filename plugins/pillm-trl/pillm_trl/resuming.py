"""Which checkpoint of TRL a killed training goes on from: the newest that is whole.

transformers writes a checkpoint file by file, so a kill leaves half of one. A whole one has a seal, written last: the sha256
of each of its files, and a hash of all that the training depends on. Weights are safetensors. The optimiser's state, the
schedule and the random numbers are files of `torch.save`; transformers 5 reads each of them with `weights_only=True`, which
restores tensors and plain values and runs nothing, and refuses anything else. Its `training_args.bin` is a pickle that is
never read, and is removed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pillm

SEAL = "seal.json"
KEPT = 2
"""Checkpoints that stay: where the newest is damaged, the one before serves."""
_PICKLED = "training_args.bin"


@dataclass(frozen=True, slots=True)
class Whole:
    """A checkpoint that is whole, and the seconds that the training had taken."""

    path: Path
    seconds: float


class Seals:
    """The seals on the checkpoints in a folder; `recipe` is a hash of all that the training depends on."""

    def __init__(self, folder: Path, recipe: str, warn: Callable[[str], None]) -> None:
        self.folder, self.recipe, self._warn = folder, recipe, warn

    def put(self, step: int, seconds: float) -> None:
        """Vouch for the checkpoint of a step, once all of it is on the disk; remove those older than the last two."""
        place = self.folder / f"checkpoint-{step}"
        (place / _PICKLED).unlink(missing_ok=True)
        files = {str(path.relative_to(place)): pillm.sha256_file(path) for path in _files(place)}
        part = place / f".{SEAL}.part"
        part.write_text(json.dumps({"recipe": self.recipe, "seconds": seconds, "files": files}), "utf-8")
        for path in (*_files(place), part):
            pillm.fsync_file(path)
        pillm.fsync_folder(place)
        part.replace(place / SEAL)
        pillm.fsync_folder(place)
        pillm.fsync_folder(self.folder)
        for old in self._places()[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def newest(self) -> Whole | None:
        """Return the newest checkpoint that is whole, or None; those that are not are removed, and told of where damaged.

        Raises ConfigError where a checkpoint is of another training.
        """
        found, useless = None, []
        for place in reversed(self._places()):
            found = self._read(place)
            if found is not None:
                break
            useless.append(place)
        for place in useless:  # the training will write a checkpoint of that step again
            shutil.rmtree(place)
        return found

    def _read(self, place: Path) -> Whole | None:
        if not (place / SEAL).is_file():
            return None  # a kill while it was written
        try:
            seal = json.loads((place / SEAL).read_text("utf-8"))
            recipe, seconds, files = seal["recipe"], float(seal["seconds"]), seal["files"]
            if files != {str(path.relative_to(place)): pillm.sha256_file(path) for path in _files(place)}:
                raise ValueError("its files are others than were written")
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._warn(f"checkpoint {place.name} is damaged ({error}); the one before it is used.")
            return None
        if recipe != self.recipe:
            raise pillm.ConfigError(
                f"{place} is of a training with other rows, options or versions; nothing was changed. "
                "Choose another folder, or remove the checkpoints to begin anew."
            )
        return Whole(place, seconds)

    def _places(self) -> list[Path]:
        """Return the checkpoints, oldest first."""
        found = [place for place in self.folder.glob("checkpoint-*") if place.name.removeprefix("checkpoint-").isdigit()]
        return sorted(found, key=lambda place: int(place.name.removeprefix("checkpoint-")))


def _files(place: Path) -> list[Path]:
    return sorted(path for path in place.rglob("*") if path.is_file() and path.name not in (SEAL, f".{SEAL}.part"))
