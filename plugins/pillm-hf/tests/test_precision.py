"""The number format follows the hardware."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pillm_hf.models import precision


@pytest.mark.parametrize(
    ("device", "has", "asked", "chosen", "warned"),
    [
        ("cpu", True, "auto", torch.bfloat16, False),
        ("cpu", False, "auto", torch.float32, False),
        ("cuda", True, "auto", torch.bfloat16, False),
        ("cuda", False, "auto", torch.float16, False),
        ("cuda", False, "bfloat16", torch.float16, True),
        ("cpu", False, "bfloat16", torch.float32, True),
        ("cpu", True, "float16", torch.float32, True),
        ("cuda", False, "float32", torch.float32, False),
    ],
)
def test_a_format_that_the_hardware_lacks_is_replaced_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, device: str, has: bool, asked: precision.DType, chosen: torch.dtype, warned: bool
) -> None:
    monkeypatch.setattr(precision, "gpu_has_bf16", lambda: has)
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: has)
    said: list[str] = []
    assert precision.choose_dtype(asked, device, said.append) == chosen
    assert bool(said) == warned


def test_the_processor_is_asked_for_bfloat16(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("flags : avx2 avx512f\n", "utf-8")
    new.write_text("flags : avx2 avx512f avx512_bf16\n", "utf-8")
    assert not precision.cpu_has_bf16(old)
    assert precision.cpu_has_bf16(new)
    assert not precision.cpu_has_bf16(tmp_path / "absent")
