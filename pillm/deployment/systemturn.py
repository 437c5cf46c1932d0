"""The system message that a student was trained under, put into the prompt there where the caller sends none.

Who asks a deployed model sends what a person said, not what the training data began with. So the server gets the file's own
chat template with one statement before it: messages without a system message get the contract's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pillm.contract import Contract
from pillm.devices.ggufheader import Value
from pillm.intake.chattemplates import chat_environment
from pillm.intake.ggufmeaning import TEMPLATE
from pillm.intake.rendering import limited_rendering
from pillm.records import JSONObject, Message, Prompt

_HAS_ONE = "messages and messages[0]['role'] in ['system', 'developer']"
_SPECIALS = {"bos_token": "<s>", "eos_token": "</s>"}
_CONVERSATIONS: tuple[tuple[JSONObject, ...], ...] = (
    ({"role": "user", "content": "Hello"},),
    (
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "What is the time,\nplease?"},
    ),
)


@dataclass(frozen=True, slots=True)
class SystemTurn:
    """The message that was before every row in training, and the template that puts it there; None where there is none."""

    message: Message | None
    template: str | None
    notes: tuple[str, ...]


def system_turn(file: Path, header: Mapping[str, Value], contract: Contract, schema: JSONObject | None) -> SystemTurn:
    """Return the system message that a file was trained under, with its template, and what a person should know of them."""
    notes = []
    trained = header.get("pillm.contract")
    if isinstance(trained, str) and trained != contract.hash:
        notes.append(
            f"{file.name} was trained under another contract ({trained[:12]}) than the one in use ({contract.hash[:12]}): "
            "what was said before every row may be missing. Put the contract.json of its export beside it"
        )
    if contract.schema_in_prompt == "text" and schema is None:
        notes.append("every row told its own JSON Schema in the system message: callers must send it as the rows did")
    hello = Prompt(id="hello", messages=({"role": "user", "content": "Hello"},), schema=schema)
    first = contract.messages(hello)[0]
    if first["role"] != "system":
        return SystemTurn(None, None, tuple(notes))
    template, system = header.get(TEMPLATE), str(first["content"])
    wrapped = with_system(template, system) if isinstance(template, str) else None
    if wrapped is None or not renders_alike(str(template), wrapped, system):
        wrapped = None
        notes.append(
            "its chat template takes no system message by itself, so callers must send the one that it was trained under: "
            f"{system[:200]!r}{'...' if len(system) > 200 else ''}"
        )
    return SystemTurn(first, wrapped, tuple(notes))


def with_system(template: str, system: str) -> str:
    """Return a chat template that puts a system message before messages that have none, and leaves others as they are."""
    text = system.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "\\r")
    return (
        f"{{% set messages = messages if {_HAS_ONE} else [{{'role': 'system', 'content': \"{text}\"}}] + messages %}}{template}"
    )


def renders_alike(template: str, wrapped: str, system: str) -> bool:
    """Return whether a wrapped template makes of bare messages what the template itself makes of them after a system message.

    Messages that have a system message must come out as before.
    """
    first: JSONObject = {"role": "system", "content": system}
    try:
        for bare in _CONVERSATIONS:
            told = _rendered(template, (first, *bare))
            if _rendered(wrapped, bare) != told or _rendered(wrapped, (first, *bare)) != told:
                return False
    except Exception:  # noqa: BLE001 - a template may refuse in any way, also a system message as such: then it is not wrapped
        return False
    return True


def _rendered(template: str, messages: Sequence[JSONObject]) -> str:
    made = chat_environment(now=lambda form: form).from_string(template)
    with limited_rendering():
        return made.render(
            messages=[dict(one) for one in messages], add_generation_prompt=True, tools=None, documents=None, **_SPECIALS
        )
