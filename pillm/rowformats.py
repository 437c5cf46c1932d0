"""Convert the row formats that people arrive with to native `messages` rows."""

from __future__ import annotations

import json
from typing import Any

from pillm.errors import DataError
from pillm.jsonl import parse_json
from pillm.preferences import preference_of
from pillm.records import JSONObject

_SHAREGPT_ROLES = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system",
    "function": "tool", "tool": "tool", "observation": "tool",
}  # fmt: skip


_FLAT = frozenset({"system_hint", "requires_json", "tool_schema"})


def to_native(row: JSONObject) -> JSONObject:
    """Return the row as a native one; keys that the format does not use are kept.

    Known: `messages`; `conversations` (ShareGPT); `instruction`/`input`/`output` (Alpaca); `prompt`/`completion`;
    and the flat form `user`, `system_hint`, `requires_json`, `tool_schema`, `assistant`. Any of them may have its answer as
    `chosen`, and a worse one as `rejected`. Raises DataError.
    """
    preference = preference_of(row)
    return _converted(row) if preference is None else preference.native(_converted(preference.rest))


def _converted(row: JSONObject) -> JSONObject:
    if "messages" in row:
        return row
    if "conversations" in row:
        return _from_sharegpt(row)
    if "user" in row and _FLAT & row.keys():
        return _from_flat(row)
    if "instruction" in row:
        return _from_alpaca(row)
    if "prompt" in row:
        return _from_completion(row)
    return _from_flat(row)


def _from_flat(row: JSONObject) -> JSONObject:
    rest = dict(row)
    user = _required(rest, "user")
    messages = _conversation(rest.pop("system_hint", None), user, rest.pop("assistant", None))
    wants_json = rest.pop("requires_json", None)
    if wants_json not in (None, True, False):
        raise DataError(f"'requires_json' must be true or false, not {wants_json!r}.")
    if rest.get("schema") is None:  # a schema of the native name wins, and then 'tool_schema' stays in the metadata
        schema = _flat_schema(rest.pop("tool_schema", None))
        rest["schema"] = {} if wants_json and schema is None else schema
    return {**rest, "messages": messages}


def _flat_schema(value: Any) -> Any:
    """Return the schema of a flat row: an object, a name, or an object written as text."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return parse_json(value)
        except ValueError as error:
            raise DataError(f"'tool_schema' is not JSON ({error}).") from error
    return None if isinstance(value, str) and not value.strip() else value


def _from_alpaca(row: JSONObject) -> JSONObject:
    rest = dict(row)
    user, more = _required(rest, "instruction"), rest.pop("input", None)
    if not isinstance(more, str | None):
        raise DataError("'input' must be text.")
    if more and more.strip():
        user = f"{user}\n\n{more}"
    messages = _conversation(rest.pop("system", None), user, rest.pop("output", None))
    earlier = [turn for asked, said in _history(rest.pop("history", None)) for turn in _conversation(None, asked, said)]
    at = next(place for place, turn in enumerate(messages) if turn["role"] == "user")
    return {**rest, "messages": [*messages[:at], *earlier, *messages[at:]]}


def _history(value: Any) -> list[tuple[str, str]]:
    """Return the earlier questions and answers of an Alpaca row, as LLaMA-Factory writes them."""
    pairs = value or []
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise DataError("'history' must be a list of [question, answer] pairs.")
    return [(asked, said) for asked, said in pairs]


def _from_completion(row: JSONObject) -> JSONObject:
    rest = dict(row)
    prompt, completion = rest.pop("prompt"), rest.pop("completion", None)
    if isinstance(prompt, list):
        answer = completion if isinstance(completion, list) else _conversation(None, None, completion)
        return {**rest, "messages": [*prompt, *answer]}
    if not isinstance(prompt, str) or not prompt.strip():
        raise DataError("'prompt' must be text that is not empty, or a list of messages.")
    if isinstance(completion, list):
        return {**rest, "messages": [{"role": "user", "content": prompt}, *completion]}
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
    """Return the messages of what is there; an answer that is JSON rather than text becomes its text."""
    if isinstance(assistant, dict | list):
        assistant = json.dumps(assistant, ensure_ascii=False)
    turns = (("system", system), ("user", user), ("assistant", assistant))
    for role, text in turns:
        if not isinstance(text, str | None):
            raise DataError(f"the {role} text must be text, not {text!r}.")
    return [{"role": role, "content": text} for role, text in turns if text and text.strip()]
