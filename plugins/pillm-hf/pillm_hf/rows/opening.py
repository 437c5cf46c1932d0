"""Open the tokenizer and the chat template of a folder, which were looked at before any library reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pillm
from pillm_hf.models.hub import adapter_of, base_of
from pillm_hf.models.loading import first_line, look_at
from pillm_hf.rows.chat import Chat


def load_chat(folder: Path) -> Chat:
    """Load a folder's tokenizer and chat template.

    Raises DataError where either is missing or unreadable, UnsafeError where a file or the template was made to do harm.
    """
    from transformers import AutoTokenizer

    look_at(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        raise pillm.DataError(
            f"{folder}: the tokenizer cannot be read ({first_line(error)}). The folder needs tokenizer.json "
            "(or tokenizer.model) and tokenizer_config.json."
        ) from error
    for source in templates_of(tokenizer):
        pillm.check_chat_template(source, f"the chat template of {folder}", tokenizer.special_tokens_map)
    return Chat(tokenizer, folder)


def chat_of(folder: Path) -> Chat:
    """Load what a checkpoint is asked with; an adapter without a tokenizer has that of its student's folder, or its base's."""
    adapter = adapter_of(folder)
    if adapter is not None and not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        student = folder.resolve().parent  # where trainers leave an adapter: in the folder of the student that it became
        folder = student if (student / "contract.json").is_file() else base_of(adapter).fetch()
    return load_chat(folder)


def templates_of(tokenizer: Any) -> tuple[str, ...]:
    """Return the chat templates of a tokenizer: one, or several by their names."""
    found = tokenizer.chat_template
    return tuple(found.values()) if isinstance(found, dict) else (found,) if isinstance(found, str) else ()
