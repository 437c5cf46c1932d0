"""A card's keys in a GGUF file are those that its readers know."""

from __future__ import annotations

from pillm.cards.card import Card
from pillm.cards.metadata import metadata_of
from pillm.cards.terms import Part


def test_base_data_and_terms_have_their_keys() -> None:
    parts = (
        Part(role="base", name="Qwen/Qwen2.5-0.5B-Instruct", revision="c0ffee", license="apache-2.0"),
        Part(role="teacher", name="gpt-5", license="openai-terms"),
        Part(role="data", name="assistant", license="CC0-1.0", rows=3),
        Part(role="data", name="assistant", license=None, rows=1),
    )
    card = Card(name="N", basename="b", size_label="2.0M", finetune="f", license="mit", parts=parts, languages=("fr-CA",),
                tags=("distillation",), lineage={"pillm.data": "d"}, terms="T")  # fmt: skip
    assert metadata_of(card) == {
        "general.name": "N",
        "general.basename": "b",
        "general.size_label": "2.0M",
        "general.finetune": "f",
        "general.version": "v1.0",
        "general.quantized_by": "pillm",
        "general.license": "mit",
        "general.languages": ["fr-CA"],
        "general.tags": ["distillation"],
        "general.base_model.count": 1,
        "general.base_model.0.name": "Qwen2.5 0.5B Instruct",
        "general.base_model.0.organization": "Qwen",
        "general.base_model.0.version": "c0ffee",
        "general.base_model.0.repo_url": "https://huggingface.co/Qwen/Qwen2.5-0.5B-Instruct",
        "general.dataset.count": 1,
        "general.dataset.0.name": "assistant",
        "pillm.license.base": "apache-2.0",
        "pillm.license.teacher": "openai-terms",
        "pillm.license.data": "CC0-1.0, unknown",
        "pillm.terms": "T",
        "pillm.data": "d",
    }


def test_what_is_not_known_has_no_key() -> None:
    assert metadata_of(Card(name="N", basename="b")) == {
        "general.name": "N", "general.basename": "b", "general.version": "v1.0", "general.quantized_by": "pillm",
    }  # fmt: skip
