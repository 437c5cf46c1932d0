from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pillm_llamacpp.converting.predicting import layer_by_layer
from pillm_llamacpp_zoo import build

NAMES = ["gemma3", *(pytest.param(name, marks=pytest.mark.full) for name in ("llama-3", "gemma2", "phi3", "granite", "qwen3"))]


@pytest.mark.parametrize("name", NAMES)
def test_a_model_widened_layer_by_layer_computes_what_the_whole_one_does(name: str, tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    folder = build(name, tmp_path).path
    load = transformers.AutoModelForCausalLM.from_pretrained
    load(folder, dtype=torch.bfloat16).save_pretrained(folder)

    def loaded(dtype: Any) -> Any:
        return load(folder, dtype=dtype, local_files_only=True, attn_implementation="eager").eval()

    ids = torch.arange(3, 43)[None]
    with torch.inference_mode():
        whole = loaded(torch.float32)(input_ids=ids, use_cache=False).logits
        model = layer_by_layer(loaded("auto"))
        mine = model(input_ids=ids, use_cache=False).logits
    assert mine.dtype == torch.float32
    assert torch.equal(mine, whole)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
