"""Checkpoints of a training in progress: staged, hashed, and the newest that is whole is the one to go on from.

A checkpoint is a folder `step-N` with tensors (safetensors: nothing in it can run) and a `state.json` that holds their
sha256. It is written under another name, flushed, and renamed; a kill leaves the one before, also where that is of the same
step. The best weights so far are a
file of their own, which every checkpoint that knows it vouches for.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillm
from pillm_hf.models.precision import Warn

if TYPE_CHECKING:
    import torch

FOLDER = ".checkpoints"
KEPT = 2
"""Checkpoints that stay: where the newest is damaged, the one before serves."""
_TENSORS, _STATE = "tensors.safetensors", "state.json"
_DAMAGES = (OSError, ValueError, KeyError, TypeError, AttributeError)
"""What reading a checkpoint that is damaged may raise."""

Tensors = Mapping[str, "torch.Tensor"]


class Checkpoints:
    """The checkpoints of one training in a folder; `recipe` is a hash of all that the training depends on."""

    def __init__(self, folder: Path, recipe: str, warn: Warn) -> None:
        self.folder, self.recipe, self._warn = folder, recipe, warn

    def save(self, step: int, tensors: Tensors, state: Mapping[str, Any]) -> None:
        """Write a checkpoint unless it stands already, and remove those that are older than the last two; `state` is JSON."""
        stage, place, aside = self.folder / f".step-{step}.part", self.folder / f"step-{step}", self._aside(step)
        if self._stands(place, step, state):
            return
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir(parents=True)
        try:
            self._fill(stage, step, tensors, state)
        except BaseException:
            shutil.rmtree(stage, ignore_errors=True)  # on a full disk it would keep the place that is missing
            raise
        if place.exists():  # with another state, or damaged
            shutil.rmtree(aside, ignore_errors=True)
            place.rename(aside)
        stage.rename(place)
        pillm.fsync_folder(self.folder)
        shutil.rmtree(aside, ignore_errors=True)
        self._tidy(step)

    def _aside(self, step: int) -> Path:
        """Return where a step's checkpoint lies while another takes its place."""
        return self.folder / f".step-{step}.old"

    def _stands(self, place: Path, step: int, state: Mapping[str, Any]) -> bool:
        """Return whether a step's checkpoint is there, whole and with the same state."""
        try:
            kept = _unsealed(place)
        except _DAMAGES:
            return False
        same = json.loads(json.dumps(dict(state)))  # as it is read: a tuple becomes a list
        return (kept["recipe"], kept["step"], kept["state"]) == (self.recipe, step, same)

    def _fill(self, stage: Path, step: int, tensors: Tensors, state: Mapping[str, Any]) -> None:
        _write_tensors(tensors, stage / _TENSORS)
        kept = {"recipe": self.recipe, "step": step, "sha256": pillm.sha256_file(stage / _TENSORS), "state": dict(state)}
        sealed = {**kept, "seal": _seal(kept)}
        (stage / _STATE).write_text(json.dumps(sealed), "utf-8")
        pillm.fsync_file(stage / _STATE)
        pillm.fsync_folder(stage)

    def save_best(self, step: int, tensors: Tensors) -> dict[str, Any]:
        """Write the best weights so far; return what a checkpoint's state says of them, under the name "best"."""
        name = f"best-{step}.safetensors"
        part = self.folder / f".{name}.part"
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            _write_tensors(tensors, part)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        part.replace(self.folder / name)
        pillm.fsync_folder(self.folder)
        return {"file": name, "sha256": pillm.sha256_file(self.folder / name)}

    def newest(self) -> tuple[Tensors, dict[str, Any]] | None:
        """Return tensors and state of the newest checkpoint that is whole, or None.

        One that is damaged is told of and passed over. Raises ConfigError where a checkpoint is of another training.
        """
        from safetensors.torch import load_file

        self._put_back()
        for place in reversed(self._places()):
            try:
                sealed = _unsealed(place)
                self._check_best(sealed["state"].get("best"))
                tensors = load_file(place / _TENSORS)
            except _DAMAGES as error:
                self._warn(f"checkpoint {place.name} is damaged ({error}); the one before it is used.")
                continue
            if sealed["recipe"] != self.recipe:
                raise pillm.ConfigError(
                    f"{place} is of a training with other rows, options or versions; nothing was changed. "
                    "Choose another folder, or remove the checkpoints to begin anew."
                )
            return tensors, sealed["state"]
        return None

    def best(self, said: Mapping[str, Any]) -> Tensors:
        """Return the best weights, as `save_best` wrote them."""
        from safetensors.torch import load_file

        self._check_best(said)
        return load_file(self.folder / str(said["file"]))

    def _check_best(self, said: Mapping[str, Any] | None) -> None:
        if said and pillm.sha256_file(self.folder / str(said["file"])) != said["sha256"]:
            raise ValueError(f"{said['file']} has another hash")

    def _put_back(self) -> None:
        """Put back what a kill left aside while its place was empty."""
        for aside in self.folder.glob(".step-*.old"):
            place = self.folder / aside.name.removeprefix(".").removesuffix(".old")
            if place.exists():
                shutil.rmtree(aside, ignore_errors=True)
            else:
                aside.rename(place)

    def _places(self) -> list[Path]:
        """Return the checkpoints, oldest first."""
        found = [place for place in self.folder.glob("step-*") if place.name.removeprefix("step-").isdigit()]
        return sorted(found, key=_step)

    def _tidy(self, step: int) -> None:
        """Keep the last two; one of a later step was damaged, or this would not be written."""
        places = self._places()
        kept = [place for place in places if _step(place) <= step][-KEPT:]
        for place in places:
            if place not in kept:
                shutil.rmtree(place, ignore_errors=True)
        named = {_best_of(place) for place in kept}
        for path in self.folder.glob("best-*.safetensors"):
            if path.name not in named:
                path.unlink()


def remove(out: Path) -> None:
    """Remove all checkpoints in a training's folder: it has ended."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)


def _write_tensors(tensors: Tensors, path: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, path)
    pillm.fsync_file(path)


def _step(place: Path) -> int:
    return int(place.name.removeprefix("step-"))


def _best_of(place: Path) -> str:
    try:
        best = json.loads((place / _STATE).read_text("utf-8"))["state"].get("best")
        return str(best["file"]) if best else ""
    except _DAMAGES:
        return ""


def _unsealed(place: Path) -> dict[str, Any]:
    """Return what a checkpoint's `state.json` holds; raise one of `_DAMAGES` where a hash is another."""
    sealed: dict[str, Any] = json.loads((place / _STATE).read_text("utf-8"))
    if sealed.pop("seal") != _seal(sealed) or sealed["sha256"] != pillm.sha256_file(place / _TENSORS):
        raise ValueError("its hash is another")
    return sealed


def _seal(kept: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
