"""Read a generated text: the thinking before it, the tool calls in it, and what is left as the answer."""

from __future__ import annotations

import json
import re

from pillm.reasoning import split_reasoning
from pillm.records import JSONObject

_CALL = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)


def read_reply(text: str, *, tools: bool) -> tuple[str, str | None, tuple[JSONObject, ...]]:
    """Return (content, reasoning, tool calls) of a generated text.

    Calls are looked for only where the prompt offered `tools`, in the <tool_call> form of Qwen, Hermes and SmolLM;
    a text with a call that is no JSON object stays as it is.
    """
    content, reasoning = split_reasoning(text)
    if not tools:
        return content, reasoning, ()
    calls = [_call(found) for found in _CALL.findall(content)]
    if not calls or None in calls:
        return content, reasoning, ()
    return _CALL.sub("", content).strip(), reasoning, tuple(call for call in calls if call)


def _call(text: str) -> JSONObject | None:
    try:
        call = json.loads(text)
        json.dumps(call, ensure_ascii=False).encode()  # half of a surrogate pair could be neither stored nor written
    except (ValueError, RecursionError):
        return None
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return None
    arguments = json.dumps(call.get("arguments", {}), ensure_ascii=False)
    return {"type": "function", "function": {"name": call["name"], "arguments": arguments}}
