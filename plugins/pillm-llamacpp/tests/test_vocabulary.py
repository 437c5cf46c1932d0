from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pillm_llamacpp import source
from pillm_llamacpp.writing.vocabulary import _KNOWN, _PROBE
from pillm_llamacpp.writing.writer import Uncovered
from pillm_llamacpp_students import contents, write_student, written

import pillm


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_student(tmp_path_factory.mktemp("student") / "qwen3", "qwen3")


def changed(student: Path, tmp_path: Path, file: str, **more: Any) -> Path:
    folder = Path(shutil.copytree(student, tmp_path / "copy"))
    (folder / file).write_text(json.dumps({**json.loads((folder / file).read_text()), **more}))
    return folder


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"tokenizer_class": "LlamaTokenizer"}, "the tokenizer is a LlamaTokenizer"),
        ({"pad_token": "<|pad|>"}, r"the token '<\|pad\|>' is special and is not so in tokenizer.json"),
        ({"extra_special_tokens": ["<|tool|>"]}, "is special and is not so"),
        ({"added_tokens_decoder": {"2": {"content": "<|im_end|>", "special": False}}}, "is not the same in both"),
        ({"added_tokens_decoder": {"7": {"content": "<|im_end|>", "special": True}}}, "is not the same in both"),
    ],
)
def test_a_tokenizer_that_transformers_may_change_is_left_to_the_converter(
    more: dict[str, Any], why: str, student: Path, tmp_path: Path
) -> None:
    with pytest.raises(Uncovered, match=why) as caught:
        written(changed(student, tmp_path, "tokenizer_config.json", **more), tmp_path / "out")
    assert caught.value.what == "vocabulary"


def test_a_qwen_tokenizer_needs_the_token_that_transformers_would_add(student: Path, tmp_path: Path) -> None:
    told = json.loads((student / "tokenizer.json").read_text())
    told["added_tokens"] = [token for token in told["added_tokens"] if token["content"] != "<|endoftext|>"]
    with pytest.raises(Uncovered, match=r"'<\|endoftext\|>' is special and is not so"):
        written(changed(student, tmp_path, "tokenizer.json", added_tokens=told["added_tokens"]), tmp_path / "out")


def test_an_id_beyond_the_models_own_is_refused(student: Path, tmp_path: Path) -> None:
    with pytest.raises(pillm.DataError, match=r"has the id \d+, and the model knows 100"):
        written(changed(student, tmp_path, "config.json", vocab_size=100), tmp_path / "out")


def test_a_named_pre_tokenizer_goes_before_a_known_one_and_a_derived_one_after(student: Path, tmp_path: Path) -> None:
    assert contents(written(student, tmp_path, pre="llama-bpe")["F16"])[0]["tokenizer.ggml.pre"][1] == "llama-bpe"
    assert contents(written(student, tmp_path, derived="smollm")["F16"])[0]["tokenizer.ggml.pre"][1] == "smollm"
    with pytest.raises(pillm.BackendError, match="knows no pre-tokenizer that splits text as"):
        written(student, tmp_path, derived=None)


def test_the_converters_own_list_of_published_tokenizers_is_read_from_its_source() -> None:
    text = (source.require() / "conversion" / "base.py").read_text("utf-8")
    known = dict(_KNOWN.findall(text))
    assert len(_KNOWN.findall(text)) == text.count("if chkhsh == ")  # two stand there twice, and the last one counts
    assert known["3ce83efda5659b07b1ad37ca97ca5797ea4285d9b9ab0dc679e4a720c9da7454"] == "gpt-2"
    assert _PROBE.search(text)
