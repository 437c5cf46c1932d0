"""Which models turn texts into embeddings, and answer nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_ENCODER = re.compile(r"(Bert|BERT|Roberta|RoBERTa|Camembert)(?!.*(ForCausalLM|LMHeadModel))")


def is_encoder(config: Mapping[str, Any]) -> bool:
    """Say whether a model of that `config.json` turns texts into embeddings, and answers nothing."""
    return any(_ENCODER.search(str(name)) for name in config.get("architectures") or ())
