from __future__ import annotations

import pytest

from pillm.intake.configfiles import (
    check_config,
    check_tokenizer_config,
    refuse_own_code,
    shards_of,
    templates_of,
    trained_template,
)
from pillm.intake.faults import Fault


@pytest.mark.parametrize("size", [-1, 1 << 40, 1e30])
def test_sizes_that_no_model_has_are_refused_however_deep_they_stand(size: float) -> None:
    assert check_config({"vocab_size": 50_000, "text_config": {"hidden_size": 64, "head_dim": None}})
    with pytest.raises(Fault, match="hidden_size is"):
        check_config({"text_config": {"hidden_size": size}})


def test_a_document_that_is_no_object_is_broken() -> None:
    with pytest.raises(Fault) as caught:
        check_config([1])
    assert caught.value.broken


def test_only_a_person_may_trust_the_code_of_a_model() -> None:
    refuse_own_code({"auto_map": {"AutoModel": "x.Y"}, "trust_remote_code": False})
    with pytest.raises(Fault, match="trust_remote_code"):
        refuse_own_code({"vision": [{"trust_remote_code": True}]})


ELSEWHERE = (
    "../w.safetensors", "/w.safetensors", "a/w.safetensors", "a\\w.safetensors", ".w.safetensors", "w.bin", "", 1, None,
    "w.safetensors\n", "‥／w.safetensors",
)  # fmt: skip


@pytest.mark.parametrize("place", ELSEWHERE)
def test_an_index_leads_to_files_beside_it_only(place: object) -> None:
    assert shards_of({"weight_map": {"w": "model-00001-of-00002.safetensors"}})
    with pytest.raises(Fault, match="which is no"):
        shards_of({"weight_map": {"w": place}})


def test_every_template_is_found_wherever_it_stands() -> None:
    assert list(templates_of({"chat_template": "a"})) == ["a"]
    several = [{"name": "default", "template": "a"}, {"name": "rag", "template": "b"}]
    assert list(templates_of({"chat_template": several})) == ["a", "b"]
    assert list(templates_of({"chat_template": None})) == []
    with pytest.raises(Fault, match="longer than 1 MiB"):
        list(templates_of({"chat_template": "a" * (2 << 20)}))


def test_added_tokens_have_ids_that_a_vocabulary_can_have() -> None:
    check_tokenizer_config({"added_tokens_decoder": {"0": {}, "151643": {}}, "model_max_length": 10**30})
    for token in ("-1", "99999999", "x", "1" * 5000):
        with pytest.raises(Fault, match="has the id"):
            check_tokenizer_config({"added_tokens_decoder": {token: {}}})


def test_the_template_of_the_training_is_read_from_the_contract() -> None:
    assert trained_template({"template": "a"}) == "a"
    assert trained_template({"template": None}) == ""
