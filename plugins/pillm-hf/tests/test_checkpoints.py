"""Checkpoints: a kill at any moment of a save leaves the newest one whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from pillm_hf.training.checkpoints import Checkpoints

BEFORE = {"log": {"steps": 2}, "best": None}


@pytest.fixture
def warned() -> list[str]:
    return []


@pytest.fixture
def checkpoints(tmp_path: Path, warned: list[str]) -> Checkpoints:
    """Return a training's checkpoints of its first two steps."""
    made = Checkpoints(tmp_path, "recipe", warned.append)
    made.save(1, {"weight": torch.ones(4)}, {"log": {"steps": 1}, "best": None})
    made.save(2, {"weight": torch.full((4,), 2.0)}, BEFORE)
    return made


def newest(checkpoints: Checkpoints) -> tuple[list[float], dict[str, Any]]:
    found = checkpoints.newest()
    assert found is not None
    return found[0]["weight"].tolist(), found[1]


@pytest.mark.parametrize("kill_at", ["step-2", ".step-2.old"])
def test_a_kill_while_a_step_is_saved_again_leaves_its_checkpoint_whole(
    checkpoints: Checkpoints, warned: list[str], monkeypatch: pytest.MonkeyPatch, kill_at: str
) -> None:
    rename = Path.rename

    def killed(self: Path, target: Path) -> Path:
        if target.name == kill_at:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", killed)
    best = checkpoints.save_best(2, {"weight": torch.zeros(4)})
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(2, {"weight": torch.full((4,), 2.0)}, {**BEFORE, "best": best})
    monkeypatch.undo()
    assert newest(checkpoints) == ([2.0] * 4, BEFORE)
    checkpoints.save(2, {"weight": torch.full((4,), 2.0)}, {**BEFORE, "best": best})
    assert newest(checkpoints) == ([2.0] * 4, {**BEFORE, "best": best})
    assert sorted(place.name for place in checkpoints.folder.iterdir()) == ["best-2.safetensors", "step-1", "step-2"]
    assert not warned


def test_a_kill_before_the_replaced_one_is_removed_goes_on_with_the_new_one(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_path: Path, **_more: Any) -> None:
        if (checkpoints.folder / ".step-2.old").exists():
            raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(2, {"weight": torch.full((4,), 2.0)}, {**BEFORE, "seconds": 3.0})
    monkeypatch.undo()
    assert newest(checkpoints)[1] == {**BEFORE, "seconds": 3.0}
    assert sorted(place.name for place in checkpoints.folder.iterdir()) == ["step-1", "step-2"]


def test_a_step_that_stands_with_the_same_state_is_not_written_again(checkpoints: Checkpoints) -> None:
    place = checkpoints.folder / "step-2"
    before = place.stat().st_ino, (place / "tensors.safetensors").stat().st_mtime_ns
    checkpoints.save(2, {"weight": torch.full((4,), 2.0)}, BEFORE)
    assert before == (place.stat().st_ino, (place / "tensors.safetensors").stat().st_mtime_ns)


def test_a_step_that_stands_damaged_is_written_again(checkpoints: Checkpoints, warned: list[str]) -> None:
    os.truncate(checkpoints.folder / "step-2" / "tensors.safetensors", 3)
    checkpoints.save(2, {"weight": torch.full((4,), 2.0)}, BEFORE)
    assert newest(checkpoints) == ([2.0] * 4, BEFORE)
    assert not warned
