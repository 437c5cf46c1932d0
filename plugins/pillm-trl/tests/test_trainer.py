"""The options of trainer `dpo`: what they are where nobody gives them, and what is refused because nothing comes of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pillm_hf import Full, LoRA
from pillm_trl import DPO
from pydantic import ValidationError

import pillm


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"adapter": False, "rank": 8}, "rank only counts with adapter=true"),
        ({"label_smoothing": 0.1}, "label_smoothing only counts with loss_type aot"),
        ({"loss_type": ["exo_pair"]}, "needs a label_smoothing above 0"),
        ({"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0]}, "one number for each loss_type: 2"),
        ({"loss_type": ["nonsense"]}, "'sigmoid', 'hinge', 'ipo'"),
        ({"loss_type": []}, "at least 1 item"),
        ({"device_map": "cuda:1"}, "'cpu' or 'cuda'"),
        ({"eval_steps": 3}, "eval_steps"),
    ],
)
def test_an_option_that_nothing_would_come_of_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        DPO(base="b", **options)


def test_names_may_be_written_with_commas() -> None:
    trainer = DPO(base="b", loss_type="sigmoid,sft", loss_weights=[1, 0.2], target_modules="q_proj, v_proj")
    assert (trainer.loss_type, trainer.target_modules) == (["sigmoid", "sft"], ["q_proj", "v_proj"])
    assert DPO(base="b", target_modules=["all-linear"]).target_modules == "all-linear"
    assert DPO(base="b", target_modules="all-linear").target_modules == "all-linear"


def test_the_learning_rate_follows_what_is_learnt_where_nobody_gives_one() -> None:
    assert [DPO(base="b", adapter=adapter).highest_rate for adapter in (True, False)] == [5e-5, 5e-6]
    assert DPO(base="b", adapter=False, learning_rate=1e-3).highest_rate == 1e-3


def test_it_loads_and_merges_as_the_trainers_of_pillm_hf_do() -> None:
    student = DPO(base="b", rank=4, alpha=5, dropout=0.1, save_dtype="float16", dtype="float32").student
    assert isinstance(student, LoRA)
    assert (student.rank, student.alpha, student.dropout, student.save_dtype, student.dtype) == (
        4,
        5,
        0.1,
        "float16",
        "float32",
    )
    assert isinstance(DPO(base="b", adapter=False).student, Full)


def test_its_key_names_the_bases_content_and_not_its_place(base: Path, tmp_path: Path) -> None:
    import shutil

    moved = tmp_path / "elsewhere"
    shutil.copytree(base, moved)
    assert DPO(base=str(base)).identity() == DPO(base=str(moved), save_steps=3, logging_steps=1).identity()
    assert DPO(base=str(base)).identity() != DPO(base=str(base), beta=0.2).identity()


def test_a_base_that_is_not_there_is_refused_before_anything(tmp_path: Path) -> None:
    with pytest.raises(pillm.PillmError, match="no-such-base"):
        DPO(base=str(tmp_path / "no-such-base")).check()


def test_the_plugin_is_imported_without_torch_and_without_trl() -> None:
    script = "import sys, pillm_trl; print(sorted({'torch', 'trl', 'transformers', 'datasets'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
