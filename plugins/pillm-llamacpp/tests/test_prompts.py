from __future__ import annotations

from pillm_llamacpp.ollama.gotemplate import GoTemplate
from pillm_llamacpp.ollama.prompts import collated, prompt_of

SHOW = GoTemplate("<{{ .System }}>{{ range .Messages }}[{{ .Role }} {{ .Content }}]{{ end }}")


def turn(role: str, content: str | None) -> dict[str, str | None]:
    return {"role": role, "content": content}


def test_system_messages_are_joined_and_stand_among_the_others_too() -> None:
    said = prompt_of(SHOW, [turn("system", "a"), turn("user", "q"), turn("system", "b")])
    assert said == "<a\n\nb>[system a][user q][system b]"


def test_neighbours_of_one_role_are_one_message_save_those_of_tools() -> None:
    assert collated([turn("user", "a"), turn("user", "b"), turn("tool", "1"), turn("tool", "2"), turn("assistant", None)]) == [
        {"Role": "user", "Content": "a\n\nb"}, {"Role": "tool", "Content": "1"}, {"Role": "tool", "Content": "2"},
        {"Role": "assistant", "Content": ""},
    ]  # fmt: skip
