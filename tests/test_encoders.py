"""Encoders are told from models that answer."""

from __future__ import annotations

import pytest

from pillm.encoders import is_encoder


@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("BertModel", True), ("RobertaForMaskedLM", True), ("NomicBertModel", True), ("ModernBertModel", True),
        ("LlamaForCausalLM", False), ("BertLMHeadModel", False), ("RobertaForCausalLM", False),
    ],
)  # fmt: skip
def test_an_encoder_is_told_by_its_architecture(name: str, encoder: bool) -> None:
    assert is_encoder({"architectures": [name]}) is encoder
