"""Opening a tokenizer: what is missing is a sentence, and an adapter is asked as its student was taught."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pillm_hf.rows.opening import chat_of, load_chat

import pillm


def test_a_folder_without_tokenizer_is_refused(base: Path, tmp_path: Path) -> None:
    shutil.copyfile(base / "config.json", tmp_path / "config.json")
    with pytest.raises(pillm.DataError, match="tokenizer"):
        load_chat(tmp_path)


def test_a_tokenizer_without_chat_template_is_refused_with_the_remedy(make, tmp_path: Path) -> None:
    with pytest.raises(pillm.DataError, match=r"chat_template\.jinja"):
        load_chat(make(tmp_path / "raw", template=None))


def test_an_adapter_without_a_tokenizer_has_its_bases(base: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(f'{{"base_model_name_or_path": "{base}"}}', "utf-8")
    assert chat_of(tmp_path).folder == base
    for path in base.glob("*token*"):
        shutil.copy(path, tmp_path)
    shutil.copy(base / "chat_template.jinja", tmp_path)
    assert chat_of(tmp_path).folder == tmp_path
