"""Read the body of a chat completion: an answer, or the fault that it is instead."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pillm
from pillm_openai.faults import Fault, fault_of_error

_BELIEVED = 10**9
"""Tokens of a call: a server that says more does not know."""
_TOKEN_ID = re.compile(r"token_id:([0-9]{1,10})")


def answer_of(body: bytes, timings: dict[str, float], *, tools: bool = False) -> pillm.Answer:
    """Return the answer in the body of a 200 response; raise Fault where it holds none.

    Calls are looked for in its text only where `tools` were offered.
    """
    found = _document(body)
    choice = _first(found)
    message, reason = _dict(choice.get("message")), str(choice.get("finish_reason") or "stop")
    content, reasoning, calls = _said(message, tools=tools)
    refusal = message.get("refusal")
    if refusal:
        raise Fault("refused", f"the model refused: {refusal}")
    if reason == "content_filter":
        raise Fault("refused", "the server's content filter cut the answer")
    if content is None and not calls:
        if reason == "length":
            raise Fault("invalid", "no answer within max_tokens: the model was still thinking. Raise max_tokens")
        raise Fault("server", "the server answered 200 with no content", retry=True)
    ids, logprobs = _logprobs(choice.get("logprobs"))
    return pillm.Answer(
        content or "",
        reasoning=reasoning,
        tool_calls=calls,
        finish_reason=reason,
        usage=_usage(found.get("usage")),
        model=_named(found),
        token_ids=ids,
        logprobs=logprobs,
        timings=timings,
        raw=body,
    )


def _document(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body, parse_constant=lambda _: None, parse_float=_finite)
        if b"\\u" in body:  # half of a surrogate pair can be neither stored nor written; `raw` keeps it
            found = json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise Fault("server", f"the server answered 200 with something that is not JSON ({error})", retry=True) from error
    if not isinstance(found, dict):
        raise Fault("server", "the server answered 200 with something that is not a completion", retry=True)
    if found.get("error"):
        raise fault_of_error(found["error"], body)
    return found


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _first(found: dict[str, Any]) -> dict[str, Any]:
    choices = found.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        raise Fault("server", "the server answered 200 without choices", retry=True)
    if choice.get("error"):
        raise fault_of_error(choice["error"], json.dumps({"error": choice["error"]}).encode())
    return choice


def _said(message: dict[str, Any], *, tools: bool) -> tuple[str | None, str | None, tuple[dict[str, Any], ...]]:
    """Return content, reasoning and tool calls.

    A server without a parser for its model leaves thoughts and calls in the text; one that told any apart left none, and
    text that is JSON as a whole holds none.
    """
    content, calls = _text(message.get("content")), _calls(message.get("tool_calls"))
    told_apart = calls or any(value for name, value in message.items() if name.startswith("reasoning"))
    if told_apart or not content or _is_json(content):
        return content, _text(message.get("reasoning_content")) or _text(message.get("reasoning")) or None, calls
    return pillm.read_reply(content, tools=tools)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    """Return text, also from a list of text parts."""
    if isinstance(value, list):
        parts = [part.get("text") for part in value if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return value if isinstance(value, str) else None


def _calls(value: Any) -> tuple[dict[str, Any], ...]:
    return tuple(call for call in value if isinstance(call, dict)) if isinstance(value, list) else ()


def _named(found: dict[str, Any]) -> str | None:
    model, build = found.get("model"), found.get("system_fingerprint")
    if not isinstance(model, str):
        return None
    return f"{model} ({build})" if isinstance(build, str) and build else model


def _usage(value: Any) -> pillm.Usage | None:
    if not isinstance(value, dict):
        return None
    details = _dict(value.get("prompt_tokens_details"))
    counts = (value.get("prompt_tokens"), value.get("completion_tokens"), details.get("cached_tokens"))
    asked, said, cached = (count if isinstance(count, int) and count >= 0 else 0 for count in counts)
    if max(asked, said, cached) > _BELIEVED:
        return None
    return pillm.Usage(prompt_tokens=asked, completion_tokens=said, cached_tokens=cached)


Logprobs = tuple[tuple[tuple[int, float], ...], ...]


def _logprobs(value: Any) -> tuple[tuple[int, ...] | None, Logprobs | None]:
    """Return token ids and alternatives where the server names ids (llama-server, vLLM); `raw` keeps the texts of others."""
    entries = _dict(value).get("content")
    if not isinstance(entries, list) or not entries:
        return None, None
    ids, rows = [], []
    for entry in entries:
        alternatives = _dict(entry).get("top_logprobs") or [entry]
        row = [(_id(item), _dict(item).get("logprob")) for item in alternatives] if isinstance(alternatives, list) else []
        chosen = _id(entry)
        if chosen is None or not row or not all(isinstance(i, int) and _is_number(p) for i, p in row):
            return None, None
        ids.append(chosen)
        rows.append(tuple(sorted(((int(i or 0), min(0.0, float(p or 0.0))) for i, p in row), key=lambda pair: -pair[1])))
    return tuple(ids), tuple(rows)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _id(entry: Any) -> int | None:
    entry = _dict(entry)
    found, named = entry.get("id"), _TOKEN_ID.fullmatch(str(entry.get("token", "")))
    number = found if isinstance(found, int) else int(named[1]) if named else -1
    return number if 0 <= number < 2**31 else None
