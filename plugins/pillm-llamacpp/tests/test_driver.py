from __future__ import annotations

from typing import Any

import pytest
from pillm_llamacpp.converting.driver import render

ASKED = [{"role": "user", "content": "a"}]
WHOLE = [*ASKED, {"role": "assistant", "content": "b"}]


class Tokenizer:
    """Stands for a reloaded tokenizer whose template writes no token after an answer."""

    def apply_chat_template(self, messages: list[dict[str, str]], *, add_generation_prompt: bool, **_: Any) -> str:
        return "|".join(message["content"] for message in messages) + ("|assistant:" if add_generation_prompt else "")


@pytest.mark.parametrize(
    ("messages", "told", "found"),
    [
        (ASKED, None, {"text": "a|assistant:", "ask": True, "suffix": ""}),
        (ASKED, "a|assistant:", {"text": "a|assistant:", "ask": True, "suffix": ""}),
        (ASKED, "a", {"text": "a", "ask": False, "suffix": ""}),
        (WHOLE, "a|b</s>", {"text": "a|b</s>", "ask": False, "suffix": "</s>"}),
        (WHOLE, "something else", {"text": "a|b", "ask": False, "suffix": ""}),
    ],
)
def test_a_probe_is_rendered_as_its_trainer_did(
    messages: list[dict[str, str]], told: str | None, found: dict[str, Any]
) -> None:
    assert render(Tokenizer(), {"messages": messages, "text": told, "tools": []}, ["</s>"]) == found
