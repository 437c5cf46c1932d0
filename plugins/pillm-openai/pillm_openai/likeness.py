"""Whether what a server says of its model could be said of a file: weights, bytes, widths."""

from __future__ import annotations

from typing import Any

import pillm

_WORDS = {
    "n_params": "weights", "size": "bytes of weights", "n_embd": "numbers a token", "n_ctx_train": "tokens of context",
    "n_vocab": "tokens in its vocabulary",
}  # fmt: skip


def unlike(told: dict[str, Any], model: pillm.ModelFile) -> str | None:
    """Return in what a model differs from a file, as a sentence's end; None where nothing that is told contradicts it.

    `told` is what llama-server lists as `meta`. Raises DataError for a file that is no sound GGUF file.
    """
    said = {name: value for name in _WORDS if isinstance(value := told.get(name), int) and not isinstance(value, bool)}
    if not said:
        return None
    found = _facts(model)
    for name, value in said.items():
        if found.get(name, value) != value:
            return f"a model of {value} {_WORDS[name]}, where the file has {found[name]}"
    return None


def _facts(model: pillm.ModelFile) -> dict[str, int]:
    header = pillm.read_header(model.path)
    family = header.metadata.get("general.architecture")
    facts = {
        "n_params": sum(tensor.weights for tensor in header.tensors), "size": sum(tensor.bytes for tensor in header.tensors),
        "n_embd": header.metadata.get(f"{family}.embedding_length"),
        "n_ctx_train": header.metadata.get(f"{family}.context_length"),
        "n_vocab": getattr(header.metadata.get("tokenizer.ggml.tokens"), "items", None),
    }  # fmt: skip
    return {name: value for name, value in facts.items() if isinstance(value, int)}
