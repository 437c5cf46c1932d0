"""Convert the row formats that people arrive with to native `messages` rows."""

from __future__ import annotations

import json
from typing import Any

from pillm.errors import DataError
from pillm.records import JSONObject

_SHAREGPT_ROLES = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system",
    "function": "tool", "tool": "tool", "observation": "tool",
}  # fmt: skip


def to_native(row: JSONObject) -> JSONObject:
    """Return the row as a native one; keys that the format does not use are kept.

    Known: `messages`; `conversations` (ShareGPT); `instruction`/`input`/`output` (Alpaca); `prompt`/`completion`;
    and the flat form `user`, `system_hint`, `requires_json`, `tool_schema`, `assistant`. Raises DataError.
    """
    if "messages" in row:
        return row
    if "conversations" in row:
        return _from_sharegpt(row)
    if "instruction" in row:
        return _from_alpaca(row)
    if "prompt" in row:
        return _from_completion(row)
    return _from_flat(row)


def _from_flat(row: JSONObject) -> JSONObject:
    rest = dict(row)
    user = _required(rest, "user")
    messages = _conversation(rest.pop("system_hint", None), user, rest.pop("assistant", None))
    schema = rest.pop("tool_schema", None)
    if isinstance(schema, str) and schema.lstrip().startswith("{"):
        try:
            schema = json.loads(schema)
        except ValueError as error:
            raise DataError(f"'tool_schema' is not JSON ({error}).") from error
    if rest.pop("requires_json", False):
        rest.setdefault("schema", schema if schema is not None else {})
    elif schema is not None:
        rest.setdefault("schema", schema)
    return {**rest, "messages": messages}


def _from_alpaca(row: JSONObject) -> JSONObject:
    rest = dict(row)
    user = _required(rest, "instruction")
    if rest.pop("input", None):
        user = f"{user}\n\n{row['input']}"
    return {**rest, "messages": _conversation(rest.pop("system", None), user, rest.pop("output", None))}


def _from_completion(row: JSONObject) -> JSONObject:
    rest = dict(row)
    prompt, completion = rest.pop("prompt"), rest.pop("completion", None)
    if isinstance(prompt, list):
        return {**rest, "messages": [*prompt, *(completion if isinstance(completion, list) else [])]}
    if not isinstance(prompt, str) or not prompt.strip():
        raise DataError("'prompt' must be text that is not empty, or a list of messages.")
    return {**rest, "messages": _conversation(None, prompt, completion)}


def _from_sharegpt(row: JSONObject) -> JSONObject:
    rest = dict(row)
    turns = rest.pop("conversations")
    if not isinstance(turns, list):
        raise DataError("'conversations' must be a list of turns.")
    messages = _conversation(rest.pop("system", None), None, None)
    for turn in turns:
        role = _SHAREGPT_ROLES.get(str(turn.get("from", turn.get("role")))) if isinstance(turn, dict) else None
        if role is None:
            raise DataError(f"each turn of 'conversations' needs 'from' out of {', '.join(_SHAREGPT_ROLES)}.")
        messages.append({"role": role, "content": turn.get("value", turn.get("content"))})
    return {**rest, "messages": messages}


def _required(rest: JSONObject, name: str) -> str:
    value = rest.pop(name, None)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{name!r} is missing or empty. A row needs 'messages', or {name!r} with text.")
    return value


def _conversation(system: Any, user: Any, assistant: Any) -> list[JSONObject]:
    turns = (("system", system), ("user", user), ("assistant", assistant))
    return [{"role": role, "content": text} for role, text in turns if isinstance(text, str) and text.strip()]
