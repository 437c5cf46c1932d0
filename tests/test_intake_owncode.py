from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pillm
from pillm.intake.owncode import FILES, settings_in

OWN = {"AutoConfig": "configuration_phi3.Phi3Config", "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"}
JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("more", [{}, {"AutoTokenizer": "Xenova/gpt-4o"}, {"AutoTokenizer": ["tokenization.Own", None]}])
def test_code_that_is_not_needed_is_let_pass(more: dict[str, Any]) -> None:
    assert pillm.asked_code({"auto_map": {**OWN, **more}}, "config.json", "phi3") is None


@pytest.mark.parametrize(
    ("said", "file", "model_type", "place"),
    [
        ({"auto_map": OWN}, "config.json", "moon", "auto_map"),
        ({"auto_map": OWN}, "config.json", "", "auto_map"),
        ({"auto_map": {"AutoModel": "acme/other--modeling.Evil"}}, "config.json", "phi3", "auto_map"),
        ({"auto_map": {"AutoTokenizer": [None, "acme/other--own.Own"]}}, "config.json", "phi3", "auto_map"),
        ({"auto_map": "own.Own"}, "config.json", "phi3", "auto_map"),
        ({"vision_config": {"auto_map": OWN}}, "config.json", "phi3", "vision_config.auto_map"),
        ({"auto_map": {"AutoTokenizer": ["own.Own", None]}}, "tokenizer_config.json", "phi3", "auto_map"),
        ({"auto_map": OWN}, "processor_config.json", "phi3", "auto_map"),
        ({"a": [{"trust_remote_code": True}]}, "config.json", "phi3", "a.0.trust_remote_code"),
    ],
)
def test_code_that_would_be_needed_is_found_with_its_place(said: Any, file: str, model_type: str, place: str) -> None:
    assert pillm.asked_code(said, file, model_type) == place


@given(JSON, st.sampled_from(["trust_remote_code", "auto_map"]))
def test_it_is_found_inside_anything(around: Any, key: str) -> None:
    assert pillm.asked_code(around, "config.json", "llama") is None
    assert pillm.asked_code({"around": [around, {"inside": {key: True}}]}, "config.json", "llama") == f"around.1.inside.{key}"


def test_a_bottomless_document_is_walked_through_without_recursion() -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"a": deep}
    assert sum(1 for _ in settings_in(deep)) == 100_000


def write(folder: Path, name: str, said: Any) -> None:
    (folder / name).write_text(json.dumps(said), "utf-8")


@pytest.mark.parametrize("file", FILES)
def test_a_folder_is_judged_by_the_type_of_its_model(tmp_path: Path, file: str) -> None:
    for model_type in ("phi3", "moon"):
        write(tmp_path, "config.json", {"model_type": model_type})
        write(tmp_path, file, {"model_type": model_type, "auto_map": OWN})
        if model_type == "phi3":
            pillm.check_own_code(tmp_path)
            continue
        with pytest.raises(pillm.UnsafeError, match=rf"{tmp_path} wants to run its own Python code \(auto_map in {file}\)"):
            pillm.check_own_code(tmp_path)


def test_a_folder_without_such_files_asks_for_nothing_and_a_broken_file_is_named(tmp_path: Path) -> None:
    pillm.check_own_code(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(pillm.DataError, match=r"tokenizer_config\.json cannot be read"):
        pillm.check_own_code(tmp_path)
