"""Prompts that leave no room for an answer are refused before anybody is paid; those that are short cost nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from pillm_hf import LoRA
from pillm_hf.rows.prompts import check_lengths

import pillm


def rows(short: int, long: int) -> list[pillm.Prompt]:
    words = ["lac " * 3] * short + ["gare " * 900] * long
    return [
        pillm.Prompt(id=f"r{number}", messages=({"role": "user", "content": text},), where=f"rows.jsonl:{number + 1}")
        for number, text in enumerate(words)
    ]


def test_more_than_half_too_long_is_refused_with_numbers_and_the_remedy(base: Path) -> None:
    with pytest.raises(pillm.ConfigError, match=r"^trainer: 6 of 10 prompts .* max_length=300 tokens .* raise max_length"):
        LoRA(base=str(base), max_length=300).check_prompts(rows(4, 6), pillm.Contract())
    LoRA(base=str(base), max_length=300).check_prompts(rows(5, 5), pillm.Contract())
    LoRA(base=str(base), max_length=300).check_prompts([], pillm.Contract())


def test_what_everybody_is_told_counts(base: Path) -> None:
    with pytest.raises(pillm.ConfigError, match="10 of 10 prompts"):
        LoRA(base=str(base), max_length=300).check_prompts(rows(10, 0), pillm.Contract(system="chat " * 400))


def test_short_prompts_are_passed_without_loading_a_tokenizer(tmp_path: Path) -> None:
    check_lengths(rows(3, 0), pillm.Contract(), tmp_path / "nothing", 1024)


def test_a_student_that_is_not_here_is_not_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    LoRA(base="nobody/has-this-model-here").check_prompts(rows(0, 3), pillm.Contract(system="x" * 9000))


def test_a_row_that_the_template_refuses_is_named(base: Path) -> None:
    odd = [pillm.Prompt(id="odd", messages=({"content": "gare " * 900},), where="rows.jsonl:1")]
    with pytest.raises(pillm.DataError, match=r"^rows\.jsonl:1: the chat template"):
        LoRA(base=str(base), max_length=300).check_prompts(odd, pillm.Contract())
