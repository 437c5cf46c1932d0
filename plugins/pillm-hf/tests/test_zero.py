"""DeepSpeed: its settings are those that it documents, and where it is installed its processes learn what one learns."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from pillm_hf import Full, LoRA
from pillm_hf.launching.command import deepspeed_config

import pillm

DOCUMENTED = {
    "train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "optimizer", "scheduler",
    "communication_data_type", "prescale_gradients", "gradient_predivide_factor", "sparse_gradients", "fp16", "bf16",
    "gradient_clipping", "zero_optimization", "zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer", "steps_per_print",
    "wall_clock_breakdown", "dump_state", "torch_autocast",
}  # fmt: skip
ZERO_DOCUMENTED = {
    "stage", "allgather_partitions", "allgather_bucket_size", "overlap_comm", "reduce_scatter", "reduce_bucket_size",
    "contiguous_gradients", "offload_param", "offload_optimizer", "stage3_max_live_parameters", "stage3_max_reuse_distance",
    "stage3_prefetch_bucket_size", "stage3_param_persistence_threshold", "sub_group_size", "round_robin_gradients",
}  # fmt: skip
"""Of https://www.deepspeed.ai/docs/config-json, the settings of a training with ZeRO."""


@pytest.mark.parametrize("stage", [None, 2, 3])
def test_every_setting_is_one_that_deepspeed_documents(base: Path, stage: Any) -> None:
    launcher = {"processes": 2, "strategy": "deepspeed", "zero_stage": stage}
    config = deepspeed_config(LoRA(base=str(base), launcher=launcher, per_device_train_batch_size=3, max_grad_norm=0.5))
    assert config.keys() <= DOCUMENTED
    assert config["zero_optimization"].keys() <= ZERO_DOCUMENTED
    assert (config["zero_optimization"]["stage"], config["gradient_clipping"]) == (stage or 2, 0.5)
    assert config["train_micro_batch_size_per_gpu"] == 3
    assert json.loads(json.dumps(config)) == config


@pytest.mark.full
@pytest.mark.skipif(find_spec("deepspeed") is None, reason="not installed: deepspeed")
@pytest.mark.parametrize(("trainer", "stage"), [(LoRA, 2), (LoRA, 3), (Full, 2), (Full, 3)])
def test_two_processes_of_deepspeed_learn_what_one_learns(
    base: Path, data: pillm.TrainingData, tmp_path: Path, trainer: Any, stage: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    options = {"num_train_epochs": 2, "per_device_train_batch_size": 3, "logging_steps": 1, "save_steps": 2, "dtype": "float32"}
    stop: list[bool] = []

    def losses(name: str, **more: Any) -> list[float]:
        out = tmp_path / name
        out.mkdir(exist_ok=True)
        made = trainer(base=str(base), learning_rate=2e-3, device_map="cpu", save_dtype="float16", **options, **more)

        def read(event: pillm.Event) -> None:
            if stop and event.kind == "advance" and event.done >= 5:
                stop.clear()
                raise KeyboardInterrupt

        made.train(data, out, pillm.Progress("train", (read,)))
        return [entry["loss"] for entry in json.loads((out / "training.json").read_text("utf-8"))["log"]]

    launcher = {"processes": 2, "strategy": "deepspeed", "zero_stage": stage}
    expected = losses("one")
    stop.append(True)
    with pytest.raises(KeyboardInterrupt):
        losses("two", launcher=launcher)
    assert losses("two", launcher=launcher) == pytest.approx(expected, rel=1e-4)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=2e-3, atol=1e-3)
