"""A checkpoint is gone on from only where it is whole, unchanged, and of the same training."""

from __future__ import annotations

from pathlib import Path

import pytest
from pillm_trl.resuming import SEAL, Seals

import pillm


def written(folder: Path, step: int) -> Path:
    """Write what transformers writes of a step, as far as it matters here."""
    place = folder / f"checkpoint-{step}"
    (place / "more").mkdir(parents=True)
    for name in ("adapter_model.safetensors", "optimizer.pt", "training_args.bin", "more/part"):
        (place / name).write_text(f"{name} of step {step}")
    return place


def seals(folder: Path, recipe: str = "r") -> tuple[Seals, list[str]]:
    said: list[str] = []
    return Seals(folder, recipe, said.append), said


def test_the_newest_whole_checkpoint_is_gone_on_from_and_brings_its_seconds(tmp_path: Path) -> None:
    made, said = seals(tmp_path)
    assert made.newest() is None
    for step in (2, 10):
        written(tmp_path, step)
        made.put(step, seconds=float(step))
    found = made.newest()
    assert found is not None
    assert (found.path.name, found.seconds, said) == ("checkpoint-10", 10.0, [])


def test_half_a_checkpoint_is_passed_over_and_removed(tmp_path: Path) -> None:
    made, said = seals(tmp_path)
    written(tmp_path, 2)
    made.put(2, seconds=1)
    half = written(tmp_path, 3)
    (half / f".{SEAL}.part").write_text("{")
    found = made.newest()
    assert found is not None
    assert (found.path.name, half.exists(), said) == ("checkpoint-2", False, [])


@pytest.mark.parametrize("fault", ["changed", "cut", "missing", "added", "no seal", "no json"])
def test_a_damaged_checkpoint_is_told_of_and_the_one_before_it_serves(fault: str, tmp_path: Path) -> None:
    made, said = seals(tmp_path)
    for step in (1, 2):
        written(tmp_path, step)
        made.put(step, seconds=1)
    place = tmp_path / "checkpoint-2"
    if fault == "changed":
        (place / "optimizer.pt").write_text("optimizer.pt of step 9")
    elif fault == "cut":
        (place / "more" / "part").write_text("")
    elif fault == "missing":
        (place / "optimizer.pt").unlink()
    elif fault == "added":
        (place / "pytorch_model.bin").write_text("what nobody wrote")
    else:
        (place / SEAL).write_text("[]" if fault == "no seal" else "{")
    found = made.newest()
    assert found is not None
    assert (found.path.name, place.exists()) == ("checkpoint-1", False)
    assert len(said) == 1
    assert "checkpoint-2 is damaged" in said[0]


def test_a_checkpoint_of_another_training_is_refused_and_kept(tmp_path: Path) -> None:
    place = written(tmp_path, 2)
    seals(tmp_path, "one")[0].put(2, seconds=1)
    half = written(tmp_path, 3)
    with pytest.raises(pillm.ConfigError, match="other rows, options or versions"):
        seals(tmp_path, "other")[0].newest()
    assert place.is_dir()
    assert half.is_dir(), "nothing was changed"


def test_the_last_two_are_kept_and_no_pickle_that_nobody_reads(tmp_path: Path) -> None:
    made, _ = seals(tmp_path)
    for step in (1, 2, 10):
        written(tmp_path, step)
        made.put(step, seconds=1)
    assert sorted(place.name for place in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-2"]
    assert not list(tmp_path.rglob("training_args.bin"))
