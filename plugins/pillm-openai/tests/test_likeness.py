from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pillm_openai.likeness import unlike

import pillm

TINY = pillm.ModelFile.of(Path(__file__).parents[3] / "rpi4" / "selftest" / "tiny.gguf", "Q4_K_M")
LIKE = {"n_params": 956672, "size": 589652, "n_embd": 256, "n_ctx_train": 512, "n_vocab": 330}


def test_a_model_is_like_a_file_until_one_number_says_otherwise() -> None:
    assert unlike(LIKE, TINY) is None
    assert unlike({**LIKE, "size": 1}, TINY) == "a model of 1 bytes of weights, where the file has 589652"
    assert unlike({"n_embd": 512}, TINY) == "a model of 512 numbers a token, where the file has 256"


@given(st.dictionaries(st.sampled_from([*LIKE, "ftype"]), st.none() | st.booleans() | st.text(max_size=3) | st.floats()))
def test_what_is_no_number_says_nothing(told: dict[str, Any]) -> None:
    assert unlike(told, TINY) is None


def test_a_file_that_is_no_model_is_refused_only_where_something_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF, or so it says")
    file = pillm.ModelFile.of(tmp_path / "a.gguf", "Q8_0")
    assert unlike({}, file) is None
    with pytest.raises(pillm.DataError, match="not a sound GGUF file"):
        unlike(LIKE, file)
