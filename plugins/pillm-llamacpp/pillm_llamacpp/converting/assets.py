"""What lies beside a model file for who encodes texts without llama.cpp: the tokenizer as the checkpoint has it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NAMES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "chat_template.jinja", "chat_template.json", "generation_config.json",
)  # fmt: skip


def copy_assets(checkpoint: Path, out: Path) -> list[Path]:
    """Copy the tokenizer's files of a checkpoint into a folder, each whole or not at all; return those that were copied."""
    made = []
    for name in NAMES:
        if (checkpoint / name).is_file():
            part = out / f"{name}.part"
            try:
                shutil.copyfile(checkpoint / name, part)
                part.replace(out / name)
            finally:
                part.unlink(missing_ok=True)
            made.append(out / name)
    return made
