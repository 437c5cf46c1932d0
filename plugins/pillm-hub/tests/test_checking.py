"""What fetched files may not say, and what may not lie in the cache."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pillm_hub.checking import read_json, require_harmless, require_own_file, shards_of
from pillm_hub.wanted import INDEX

import pillm

JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def write(folder: Path, document: Any, name: str = "config.json") -> Path:
    """Write a JSON file."""
    path = folder / name
    path.write_text(json.dumps(document), "utf-8")
    return path


@pytest.mark.parametrize(
    "document",
    [
        {"trust_remote_code": True},
        {"a": [{"b": {"trust_remote_code": "yes"}}]},
        {"model_type": "llama", "text_config": {"trust_remote_code": 1}},
        {"auto_map": {"AutoModel": "modeling.Evil"}},
        {"model_type": "moon", "auto_map": {"AutoModel": "modeling.Evil"}},
        {"model_type": "phi3", "auto_map": {"AutoModel": "acme/other--modeling.Evil"}},
        {"model_type": "phi3", "auto_map": {"AutoTokenizer": ["modeling.Slow", "acme/other--modeling.Evil"]}},
        {"model_type": "llama", "vision_config": {"auto_map": {"AutoModel": "modeling.Evil"}}},
    ],
)
def test_a_setting_that_asks_for_code_is_found_however_deep(tmp_path: Path, document: Any) -> None:
    with pytest.raises(pillm.UnsafeError, match=r"acme/x: config\.json"):
        require_harmless(write(tmp_path, document), "acme/x")


@pytest.mark.parametrize(
    ("document", "name"),
    [
        ({"trust_remote_code": False, "auto_map": None}, "config.json"),
        ({"model_type": "phi3", "auto_map": {"AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"}}, "config.json"),
        ({"model_type": "phi3", "auto_map": {"AutoConfig": "a.B", "AutoTokenizer": "Xenova/gpt-4o"}}, "config.json"),
        ({"model": {"vocab": {"auto_map": 7, "trust_remote_code": 8}}}, "tokenizer.json"),
        ({"weight_map": {"auto_map": "model.safetensors"}}, INDEX),
    ],
)
def test_what_asks_for_nothing_passes(tmp_path: Path, document: Any, name: str) -> None:
    require_harmless(write(tmp_path, document, name), "acme/x")


def test_a_tokenizer_never_brings_code_whatever_the_model_is(tmp_path: Path) -> None:
    document = {"model_type": "phi3", "auto_map": {"AutoTokenizer": ["tokenization.Own", None]}}
    with pytest.raises(pillm.UnsafeError, match="tokenizer_config"):
        require_harmless(write(tmp_path, document, "tokenizer_config.json"), "acme/x")


@given(JSON, st.sampled_from(["trust_remote_code", "auto_map"]))
def test_it_is_found_inside_anything(tmp_path_factory: pytest.TempPathFactory, around: Any, key: str) -> None:
    folder = tmp_path_factory.mktemp("config")
    require_harmless(write(folder, around), "acme/x")
    with pytest.raises(pillm.UnsafeError):
        require_harmless(write(folder, {"around": [around, {"inside": {key: True}}]}), "acme/x")


def test_a_bottomless_or_endless_or_broken_file_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(pillm.UnsafeError, match="nested"):
        read_json(path, "acme/x")
    path.write_text("{")
    with pytest.raises(pillm.DataError, match="no JSON"):
        read_json(path, "acme/x")
    with path.open("wb") as file:
        file.truncate(100 * 2**20)
    with pytest.raises(pillm.UnsafeError, match="bytes, which no configuration needs"):
        read_json(path, "acme/x")


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", "evil.bin", "", "..", "x\0.safetensors"]
)
def test_an_index_names_only_files_of_its_own_repository(tmp_path: Path, name: str) -> None:
    write(tmp_path, {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": name}}, INDEX)
    with pytest.raises(pillm.UnsafeError, match="sends the reader to"):
        shards_of(tmp_path, "acme/x")


@pytest.mark.parametrize("document", [[], {}, {"weight_map": {}}, {"weight_map": {"a": 1}}, {"weight_map": ["a"]}])
def test_an_index_that_is_none_is_a_sentence(tmp_path: Path, document: Any) -> None:
    write(tmp_path, document, INDEX)
    with pytest.raises(pillm.DataError, match="weight_map"):
        shards_of(tmp_path, "acme/x")


def test_a_folder_without_an_index_has_no_shards(tmp_path: Path) -> None:
    assert shards_of(tmp_path, "acme/x") == frozenset()


def test_only_plain_files_inside_the_cache_are_opened(tmp_path: Path) -> None:
    cache, outside = tmp_path / "cache", tmp_path / "outside.json"
    cache.mkdir()
    outside.write_text("{}")
    (cache / "good").write_text("{}")
    (cache / "link").symlink_to("good")
    (cache / "out").symlink_to(outside)
    (cache / "loop").symlink_to("loop")
    (cache / "gone").symlink_to("nowhere")
    os.mkfifo(cache / "pipe")
    require_own_file(cache / "good", cache, "acme/x")
    require_own_file(cache / "link", cache, "acme/x")
    for name, words in {"out": "leads out", "loop": "nowhere", "gone": "nowhere", "pipe": "pipe"}.items():
        with pytest.raises(pillm.UnsafeError, match=words):
            require_own_file(cache / name, cache, "acme/x")
