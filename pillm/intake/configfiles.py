"""What config.json, tokenizer_config.json and an index of shards may say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from pillm.intake.faults import Fault, shown
from pillm.intake.jsonfiles import objects_in

MAX_TEMPLATE: Final = 1 << 20
MAX_TOKENS: Final = 1 << 22
_MOST: Final = {
    "vocab_size": 1 << 24, "hidden_size": 1 << 20, "intermediate_size": 1 << 22, "num_hidden_layers": 1024,
    "num_attention_heads": 1 << 16, "num_key_value_heads": 1 << 16, "head_dim": 1 << 16, "num_local_experts": 4096,
    "num_experts": 4096, "n_routed_experts": 4096, "type_vocab_size": 1 << 16, "max_position_embeddings": 1 << 31,
}  # fmt: skip
_SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\.safetensors")


def require_object(said: Any) -> dict[str, Any]:
    """Return a document that is an object; raise Fault for any other."""
    if not isinstance(said, dict):
        raise Fault("it holds no object", broken=True)
    return said


def check_config(said: Any) -> dict[str, Any]:
    """Return a config.json; raise Fault for sizes that no model has, since libraries make room for them."""
    config = require_object(said)
    for part in objects_in(config):
        for name, most in _MOST.items():
            value = part.get(name)
            if isinstance(value, (int, float)) and not 0 <= value <= most:
                raise Fault(f"{name} is {shown(value)}; it is a number up to {most}")
    return config


def refuse_own_code(said: Any) -> None:
    """Raise Fault where a file asks that the Python code beside it be trusted."""
    for part in objects_in(said):
        if part.get("trust_remote_code"):
            raise Fault("it says that its own Python code is to be trusted (trust_remote_code); only a person may say that")


def check_tokenizer_config(said: Any) -> None:
    """Raise Fault for added tokens whose ids no vocabulary has."""
    added = require_object(said).get("added_tokens_decoder")
    for token in added if isinstance(added, dict) else ():
        if not re.fullmatch(r"[0-9]{1,9}", token) or int(token) >= MAX_TOKENS:
            raise Fault(f"an added token has the id {shown(token)}")


def templates_of(said: Any) -> Iterator[str]:
    """Yield the chat templates of a tokenizer_config.json or chat_template.json; raise Fault for one that is too long."""
    found = said.get("chat_template") if isinstance(said, dict) else None
    texts = [one.get("template") for one in found if isinstance(one, dict)] if isinstance(found, list) else [found]
    for text in texts:
        if isinstance(text, str):
            yield check_template_size(text)


def trained_template(said: Any) -> str:
    """Return the chat template that a contract.json names, or an empty text."""
    found = require_object(said).get("template")
    return found if isinstance(found, str) else ""


def check_template_size(text: str) -> str:
    """Return a chat template; raise Fault where it is longer than any that people write."""
    if len(text) > MAX_TEMPLATE:
        raise Fault(f"the chat template is longer than {MAX_TEMPLATE >> 20} MiB")
    return text


def shards_of(said: Any) -> dict[str, str]:
    """Return an index's map from tensors to files beside it; raise Fault for any other place."""
    found = require_object(said).get("weight_map")
    if not isinstance(found, dict):
        raise Fault("it has no weight_map", broken=True)
    for tensor, name in found.items():
        if not isinstance(name, str) or not _SHARD.fullmatch(name):
            raise Fault(f"its weight_map sends {shown(tensor)} to {shown(name)}, which is no *.safetensors beside it")
    return found
