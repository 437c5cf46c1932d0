"""A folder is a trained student only where its files say so."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from pillm_easydistill.verification import NoStudent, verify


@pytest.fixture
def result(base: Path, tmp_path: Path) -> Path:
    """Return what a training leaves: the base's folder, in float32, each weight a little larger."""
    folder = tmp_path / "result"
    shutil.copytree(base, folder)
    rewrite(folder, lambda _, weight: weight.float() + 0.01)
    return folder


def rewrite(folder: Path, change: Any) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    changed = {name: change(name, weight) for name, weight in weights.items()}
    save_file(
        {name: weight.contiguous() for name, weight in changed.items() if weight is not None}, folder / "model.safetensors"
    )


def test_a_trained_student_is_accepted(base: Path, result: Path) -> None:
    verify(result, base)


def test_a_checkpoint_on_the_way_is_no_student(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "checkpoint-200")
    with pytest.raises(NoStudent, match=r"wrote no checkpoint \(no config.json\)"):
        verify(tmp_path, base)


def test_weights_of_another_format_are_not_read(base: Path, result: Path) -> None:
    (result / "model.safetensors").rename(result / "pytorch_model.bin")
    with pytest.raises(NoStudent, match="has no weights"):
        verify(result, base)


def test_half_a_file_is_no_student(base: Path, result: Path) -> None:
    path = result / "model.safetensors"
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(NoStudent, match=r"model\.safetensors cannot be read"):
        verify(result, base)


def test_weights_as_they_were_are_no_student_although_they_are_stored_in_another_format(base: Path, result: Path) -> None:
    rewrite(result, lambda _, weight: weight.float() - 0.01)
    shutil.copyfile(base / "model.safetensors", result / "model.safetensors")
    rewrite(result, lambda _, weight: weight.float())
    with pytest.raises(NoStudent, match="nothing was learnt"):
        verify(result, base)


def test_numbers_that_are_none_are_no_student(base: Path, result: Path) -> None:
    rewrite(result, lambda name, weight: weight * float("nan") if "norm" in name else weight)
    with pytest.raises(NoStudent, match="holds numbers that are none"):
        verify(result, base)


def test_weights_of_another_shape_are_no_student(base: Path, result: Path) -> None:
    rewrite(result, lambda name, weight: weight[:-1] if "embed_tokens" in name else weight)
    with pytest.raises(NoStudent, match=r"embed_tokens.weight has shape \(\d+, 64\), the base's has"):
        verify(result, base)


def test_another_model_is_no_student(base: Path, result: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = result / "model.safetensors"
    save_file({f"other.{name}": weight for name, weight in load_file(path).items()}, path)
    with pytest.raises(NoStudent, match="is of another model"):
        verify(result, base)


def test_without_a_tokenizer_the_training_did_not_come_to_its_end(base: Path, result: Path) -> None:
    (result / "tokenizer.json").unlink()
    with pytest.raises(NoStudent, match="stopped before it saved the tokenizer"):
        verify(result, base)


def test_an_index_that_names_files_elsewhere_is_never_followed(base: Path, result: Path) -> None:
    index = {"weight_map": {"model.norm.weight": "../outside.safetensors"}}
    (result / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    verify(result, base)
