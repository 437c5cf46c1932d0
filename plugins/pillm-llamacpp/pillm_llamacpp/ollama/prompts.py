"""What Ollama makes of a conversation before its template sees it, and what the template makes of that.

Source: `Template.Execute` and `collate` in Ollama's template/template.go, for templates that name `.Messages`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pillm_llamacpp.ollama.gotemplate import GoTemplate


def prompt_of(template: GoTemplate, messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the text that Ollama would give to the model for a conversation, as far as it is text."""
    told = [str(message.get("content") or "") for message in messages if message["role"] == "system"]
    return template.execute({
        "System": "\n\n".join(told),
        "Messages": collated(messages),
        "Tools": [],
        "Response": "",
    })  # fmt: skip


def collated(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the messages as a template sees them: neighbours of one role are one message, save those of tools."""
    found: list[dict[str, str]] = []
    for message in messages:
        role, content = str(message["role"]), str(message.get("content") or "")
        if found and found[-1]["Role"] == role and role != "tool":
            found[-1]["Content"] += "\n\n" + content
        else:
            found.append({"Role": role, "Content": content})
    return found
