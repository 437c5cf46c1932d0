"""Look at the prompts before a run: a recipe whose rows could not be trained on is refused while it has cost nothing."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import pillm
from pillm_hf.rows.opening import load_chat

_FRAME = 256  # tokens that a template may write around the messages
_ANSWER = 2  # the shortest answer, with its end of turn


def check_lengths(prompts: Sequence[pillm.Prompt], contract: pillm.Contract, folder: Path, max_length: int) -> None:
    """Raise ConfigError where more than half of the prompts are too long to be answered within `max_length` tokens.

    Raises DataError where the student's template refuses one of those looked at.
    """
    rows = sorted(prompts, key=lambda prompt: _size(prompt, contract))
    if not rows or _size(rows[len(rows) // 2], contract) + _FRAME <= max_length:
        return  # no tokenizer makes more tokens than bytes: the student's own need not be loaded
    chat = load_chat(folder)

    def tokens(prompt: pillm.Prompt) -> int:
        try:
            return len(chat.encode([chat.prompt(contract.messages(prompt), prompt.tools)])[0])
        except pillm.DataError as error:
            raise pillm.DataError(f"{prompt.where or prompt.id}: {error}") from error

    # more characters are more tokens, nearly: so a dozen rows tell where the rest stand
    fitting = bisect_right(rows, max_length - _ANSWER, key=tokens)
    if 2 * fitting < len(rows):
        raise pillm.ConfigError(
            f"trainer: {len(rows) - fitting} of {len(rows)} prompts leave no room for an answer in max_length={max_length} "
            f"tokens (the longest has {tokens(rows[-1])}), so most rows could not be trained on. Nothing was asked yet: raise "
            "max_length, or shorten what each row says (label.schema_in_prompt, label.system, tools)."
        )


def _size(prompt: pillm.Prompt, contract: pillm.Contract) -> int:
    """Return the bytes of what a prompt says."""
    said = "".join(str(message.get("content") or "") for message in contract.messages(prompt))
    return len(said.encode()) + sum(len(str(tool).encode()) for tool in prompt.tools)
