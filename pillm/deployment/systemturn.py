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

ASKED, AFTER, PLAIN, VARIED = "pillm.asked", "after pillm.system", "as it is", "each row in its own way"
"""What a file of exporter `gguf` says of the system message of its training, in its own metadata."""
HAS_ONE = "messages and messages[0]['role'] in ['system', 'developer']"
"""Whether a caller sent a system message, in Jinja; the scripts of rpi4/ ask the same."""
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


def contract_for(file: Path, header: Mapping[str, Value], beside: Contract | None) -> tuple[Contract, tuple[str, ...]]:
    """Return the contract that a file was trained under, as far as it or the contract.json beside it tells, and what to say.

    What the file itself says of its system message counts where the two differ.
    """
    trained, own = header.get("pillm.contract"), _own(header)
    contract = beside or Contract()
    if not isinstance(trained, str) or trained == contract.hash:
        return contract, ()
    other = f"the contract.json beside {file.name} belongs to another model, or was changed"
    if own is not None:
        return Contract(system=own or None), (f"{other}: what the file says itself is used",) if beside else ()
    missing = other if beside else f"there is no contract.json beside {file.name}, which was trained under one ({trained[:12]})"
    return contract, (f"{missing}: what was said before every row may be missing. Copy it from the export",)


def system_turn(file: Path, header: Mapping[str, Value], contract: Contract, schema: JSONObject | None) -> SystemTurn:
    """Return the system message that a file was trained under, with its template, and what a person should know of them."""
    system = _own(header)
    if system is None:
        if header.get(ASKED) == VARIED or (contract.schema_in_prompt == "text" and schema is None):
            said = "every row of the training had a system message of its own: callers must send theirs"
            return SystemTurn(None, None, (said,))
        hello = Prompt(id="hello", messages=({"role": "user", "content": "Hello"},), schema=schema)
        first = contract.messages(hello)[0]
        system = str(first["content"]) if first["role"] == "system" else ""
    if not system:
        return SystemTurn(None, None, ())
    template, message = header.get(TEMPLATE), {"role": "system", "content": system}
    wrapped = with_system(template, system) if isinstance(template, str) else None
    if wrapped is not None and renders_alike(str(template), wrapped, system):
        return SystemTurn(message, wrapped, ())
    shown = f"{system[:200]!r}{'...' if len(system) > 200 else ''}"
    said = (
        f"its chat template takes no system message by itself, so callers must send the one that it was trained under: {shown}"
    )
    return SystemTurn(message, None, (said,))


def _own(header: Mapping[str, Value]) -> str | None:
    """Return the system message that a file says was before every row, "" where there was none; None where it does not say."""
    asked, system = header.get(ASKED), header.get("pillm.system")
    if asked == AFTER and isinstance(system, str):
        return system
    return "" if asked == PLAIN else None


def with_system(template: str, system: str) -> str:
    """Return a chat template that puts a system message before messages that have none, and leaves others as they are."""
    text = system.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "\\r")
    return (
        f"{{% set messages = messages if {HAS_ONE} else [{{'role': 'system', 'content': \"{text}\"}}] + messages %}}{template}"
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
