"""What a teacher in memory takes beside its student."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from pillm_hf import LoRA
from pillm_hf.distilling.footprint import said_of, teacher_bytes


def test_a_teacher_that_scores_beforehand_or_is_not_here_is_told_to_be_uncounted(base: Path) -> None:
    def said(**distill: Any) -> tuple[int | None, str]:
        options = LoRA(base=str(base), distill=distill)
        held = teacher_bytes(options, None, torch.float32)
        return held, " ".join(said_of(options, held))

    assert said(source="labels") == (0, "")
    held, ahead = said(source="teacher", teacher=str(base), k=8)
    assert held == 0
    assert "given up before the training" in ahead
    held, missing = said(source="teacher", teacher="owner/not-here")
    assert held is None
    assert "not on this machine" in missing


def test_a_teacher_of_base_and_adapter_takes_what_its_base_takes(base: Path, tmp_path: Path) -> None:
    def held(teacher: Path) -> int | None:
        return teacher_bytes(LoRA(base=str(base), distill={"source": "teacher", "teacher": str(teacher)}), None, torch.float32)

    for name, of in (("here", str(base)), ("away", "owner/not-here")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": of}), "utf-8")
    assert held(tmp_path / "here") == held(base)
    assert held(base)
    assert held(tmp_path / "away") is None
