"""LoRA, DoRA, QLoRA in every 4-bit form, and every preset: trained, merged into 16 bit and exported, on a real small model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import pillm

LINES = [("allume la cuisine", "cuisine"), ("éteins le salon", "salon"), ("what time is it", "clock"), ("quel temps", "météo")]
TOLERANCE = 2e-4
"""Nats per token between the merged student and its adapter on the 16-bit base: rounding to float16 alone, 2e-5 measured."""
MATRIX: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("lora", {}),
    "dora": ("dora", {}),
    "qlora nf4 double": ("qlora", {}),
    "qlora nf4": ("qlora", {"double_quant": False}),
    "qlora fp4 double": ("qlora", {"quant_type": "fp4"}),
    "qlora fp4": ("qlora", {"quant_type": "fp4", "double_quant": False}),
    "dora on nf4": ("qlora", {"use_dora": True}),
    "ampere-balanced": ("lora", {"preset": "ampere-balanced"}),
    "turing-safe": ("lora", {"preset": "turing-safe"}),
    "ada-memory": ("lora", {"preset": "ada-memory"}),
}
FAST = ("qlora nf4 double",)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    splits = ["train", "train", "validation", "calibration"]
    made = [
        {"id": f"r{number}", "user": f"{asked} {number}", "assistant": told, "split": split}
        for number, ((asked, told), split) in enumerate(zip(LINES * 4, splits * 4, strict=True))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in made), "utf-8")
    return path


def said(model: Any, probes: list[pillm.artifacts.Probe]) -> Any:
    """Return the model's log-probabilities [tokens, vocabulary] on the conversations that it was trained on."""
    import torch

    with torch.no_grad():
        return torch.cat([model(input_ids=torch.tensor([probe.ids])).logits[0].float().log_softmax(-1) for probe in probes])


def divergence(one: Any, other: Any) -> float:
    return float((one.exp() * (one - other)).sum(-1).mean())


@pytest.mark.parametrize("case", [pytest.param(one, marks=() if one in FAST else pytest.mark.full) for one in MATRIX])
def test_it_trains_saves_its_adapter_merges_into_16_bit_and_is_exported(case: str, rows: Path, tmp_path: Path) -> None:
    import torch
    from pillm_hf.models.adapters import adapted
    from pillm_hf.models.loading import load_model
    from pillm_llamacpp.gates.strings import HARD_STRINGS

    name, options = MATRIX[case]
    trainer = pillm.trainer(
        name, base="nano-base", num_train_epochs=2, learning_rate=5e-3, per_device_train_batch_size=4, save_dtype="float16",
        logging_steps=1, **options,
    )  # fmt: skip
    checkpoint = pillm.train(pillm.read_examples(rows), trainer, tmp_path / "train", settings=pillm.Training(seed=3))
    log = json.loads((checkpoint.path / "training.json").read_text("utf-8"))
    assert log["log"][-1]["loss"] < log["log"][0]["loss"]
    assert log["learnt_parameters"] < log["parameters"]

    folder, probes = pillm.model_folder("nano-base"), list(checkpoint.probes())[:8]
    assert folder is not None
    base = load_model(folder, torch.float32)  # the base in 16 bit, as it is stored, computed in float32
    untrained = said(base, probes)
    on_base = said(adapted(base, checkpoint.path / "adapter").eval(), probes)
    merged = said(load_model(checkpoint.path, torch.float32), probes)
    rounding, learnt = divergence(on_base, merged), divergence(on_base, untrained)
    print(
        f"{case}: {rounding:.1e} nats per token between adapter on the 16-bit base and merged; training moved it {learnt:.1e}"
    )
    assert checkpoint.config["dtype"] == "float16"
    assert "quantization_config" not in checkpoint.config
    assert math.isfinite(learnt)
    assert abs(rounding) <= TOLERANCE < learnt / 10

    (model,) = pillm.export(checkpoint, pillm.exporter("gguf", quants=["F16"], threads=1), tmp_path / "export")
    assert model.parity == pillm.Parity(rows=len(list(checkpoint.probes())) + len(HARD_STRINGS), mismatches=0)
    assert model.path.stat().st_size == model.bytes > 100_000
