"""Chat messages in the form that templates print."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def plain(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message without absent values, and with the arguments of its tool calls as objects."""
    kept = {name: value for name, value in message.items() if value is not None}
    if kept.get("tool_calls"):
        kept["tool_calls"] = [_plain_call(call) for call in kept["tool_calls"]]
    return kept


def _plain_call(call: Any) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"])
    except ValueError:
        return call
    return {**call, "function": {**function, "arguments": arguments}}
