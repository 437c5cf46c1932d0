"""An adapter goes on the base that it was trained on, and on no other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pillm_hf import HFRunner, LoRA
from pillm_hf.models.adapters import BASE_FILE
from pillm_hf.models.loading import load_adapted

import pillm


@pytest.fixture
def adapter(base: Path, data: pillm.TrainingData, tmp_path: Path) -> Path:
    """Return a folder that holds an adapter of `base`, and a tokenizer."""
    out = tmp_path / "trained"
    out.mkdir()
    LoRA(base=str(base), num_train_epochs=1, rank=4).train(data, out, pillm.Progress())
    for path in base.iterdir():
        if path.name != "model.safetensors":
            shutil.copyfile(path, out / "adapter" / path.name)
    return out / "adapter"


def put_on(adapter: Path, base: Path) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"base_model_name_or_path": str(base)}), "utf-8")


def test_other_weights_of_the_same_shape_are_refused_and_the_same_ones_elsewhere_are_not(
    adapter: Path, base: Path, make: Callable[..., Path], tmp_path: Path
) -> None:
    put_on(adapter, Path(shutil.copytree(base, tmp_path / "copy")))
    load_adapted(adapter, torch.float32)
    put_on(adapter, make(tmp_path / "other", seed=9))
    with pytest.raises(pillm.DataError, match=rf"was trained on {base}, and .*other has other weights; nothing was changed"):
        load_adapted(adapter, torch.float32)
    with pytest.raises(pillm.DataError, match="has other weights"):
        HFRunner().open(pillm.Checkpoint(path=adapter))


@pytest.mark.parametrize("lost", ["layer", "shape", "modules", "file"])
def test_an_adapter_that_lacks_its_place_is_refused_wherever_it_comes_from(adapter: Path, base: Path, lost: str) -> None:
    from safetensors.torch import load_file, save_file

    (adapter / BASE_FILE).unlink()
    weights = load_file(adapter / "adapter_model.safetensors")
    if lost == "layer":  # peft itself would leave those weights at their beginnings
        weights = {name: value for name, value in weights.items() if "layers.1" not in name}
    elif lost == "modules":  # and these aside
        weights |= {name.replace("layers.1", "layers.7"): value.clone() for name, value in weights.items()}
    elif lost == "shape":
        weights = {name: value.repeat(2, 1) for name, value in weights.items()}
    save_file(weights, adapter / "adapter_model.safetensors")
    if lost == "file":
        (adapter / "adapter_model.safetensors").write_bytes(b"half")
    told = r"does not fit its base.*Nothing was changed.*adapter_config\.json"
    with pytest.raises(pillm.DataError, match=r"adapter_model\.safetensors: it has 4 bytes" if lost == "file" else told):
        load_adapted(adapter, torch.float32)


def test_a_damaged_note_of_the_base_is_told(adapter: Path) -> None:
    (adapter / BASE_FILE).write_text("{}", "utf-8")
    with pytest.raises(pillm.DataError, match=r"base\.json cannot be read"):
        load_adapted(adapter, torch.float32)


def test_an_adapter_alone_is_no_base_for_a_student(adapter: Path, base: Path) -> None:
    with pytest.raises(pillm.DataError, match=rf"holds an adapter and no weights of its own.*or its base {base.name}"):
        LoRA(base=str(adapter)).check()
    LoRA(base=str(base)).check()
