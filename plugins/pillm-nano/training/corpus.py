"""What the two models read: rows of the assistant's train side, and exercises made from them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loop import Encoded
from transformers import PreTrainedTokenizerBase

Row = dict[str, Any]
DATASET = Path(__file__).resolve().parents[3] / "dataset" / "assistant"


def generator() -> Any:
    """Import the dataset's own generator from the source tree."""
    sys.path.insert(0, str(DATASET))
    try:
        import generator as module
    finally:
        sys.path.pop(0)
    return module


def rows(seed: int, seen: set[str]) -> Iterator[Row]:
    """Yield train-side rows without end, and note their groups in `seen`."""
    source = generator()
    for row in source.stream(seed, split="train"):
        # A held-out group here would make every published score worthless: stop at once.
        if row.get("split") == "test" or source.held_out(row["group"]):
            raise ValueError(f"group {row['group']} is held out and may not be trained on")
        seen.add(row["group"])
        yield row


def text_of(row: Row) -> str:
    """Return what the user said."""
    return row["messages"][-1]["content"]


def answer_of(row: Row) -> str:
    """Return the reference answer."""
    return row["reference"]["content"]


class Encoder:
    """Turns conversations into ids through the chat template's own text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Keep the fast tokenizer beneath; its ids are the ones that users get."""
        self.backend = tokenizer.backend_tokenizer

    def __call__(self, messages: list[dict[str, str]], answer: str) -> Encoded:
        """Encode a conversation and its answer; the answer ends with the end-of-turn token."""
        turns = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
        prompt = self.backend.encode(turns + "<|im_start|>assistant\n").ids
        return prompt + self.backend.encode(answer + "<|im_end|>").ids, len(prompt)

    def plain(self, text: str) -> Encoded:
        """Encode a text that is read from its first token on, with no answer."""
        return self.backend.encode(f"<|im_start|>user\n{text}<|im_end|>").ids, 3
