"""What flows through pillm: prompts, requests, answers, failures and labelled examples."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, TypeAlias

from pillm.errors import DataError

Message: TypeAlias = dict[str, Any]
"""One OpenAI-style chat message: `role`, `content`, and where they apply `tool_calls`, `tool_call_id`, `name`."""
JSONObject: TypeAlias = dict[str, Any]

KEY_VERSION = "v1"


def canonical(value: object) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, NFC, no NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return unicodedata.normalize("NFC", text)


def digest(value: object) -> str:
    """Return the sha256 of a value's canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The true answer of a prompt, where it is known; trainers never see it."""

    message: Message
    origin: str = "given"

    @property
    def content(self) -> str:
        """Return the text of the reference."""
        return str(self.message.get("content") or "")

    @property
    def tool_calls(self) -> tuple[JSONObject, ...]:
        """Return the tool calls of the reference."""
        return tuple(self.message.get("tool_calls") or ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One row to be answered: the conversation up to the assistant's turn, and what is known about it."""

    id: str
    messages: tuple[Message, ...]
    schema: JSONObject | None = None
    schema_name: str | None = None
    tools: tuple[JSONObject, ...] = ()
    reference: Reference | None = None
    given: Message | None = None
    provenance: JSONObject = field(default_factory=dict)
    """How `given` was made, as `label` wrote it beside the answer; empty where nobody says."""
    rejected: Message | None = None
    """An answer that is worse than the one to be learnt, for trainers that learn from preferences."""
    split: str | None = None
    group: str | None = None
    source: str | None = None
    license: str | None = None
    language: str | None = None
    tags: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    metadata: JSONObject = field(default_factory=dict)
    where: str = field(default="", compare=False)

    @property
    def teacher_answer(self) -> Message | None:
        """Return the answer that the row arrived with where a teacher gave it: something to compare with, never the truth."""
        return self.given if self.provenance.get("source") == "teacher" else None

    @property
    def text(self) -> str:
        """Return the text of the last user message."""
        for message in reversed(self.messages):
            if message.get("role") == "user":
                return str(message.get("content") or "")
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question as it is sent: `key` names its answer for ever, `sample` numbers repeated questions."""

    key: str
    prompt: Prompt
    messages: tuple[Message, ...]
    sample: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call: prompt, of which cached, and completion."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


Logprobs: TypeAlias = tuple[tuple[tuple[int, float], ...], ...]
"""For each completion token its most likely alternatives as (token id, natural log-probability), best first."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole assistant message and what is known about how it was made."""

    content: str
    reasoning: str | None = None
    tool_calls: tuple[JSONObject, ...] = ()
    finish_reason: str = "stop"
    usage: Usage | None = None
    model: str | None = None
    token_ids: tuple[int, ...] | None = None
    logprobs: Logprobs | None = None
    tokenizer_hash: str | None = None
    timings: dict[str, float] = field(default_factory=dict)
    raw: bytes | None = None

    @property
    def message(self) -> Message:
        """Return the answer as a chat message."""
        message: Message = {"role": "assistant", "content": self.content}
        if self.tool_calls:
            message["tool_calls"] = list(self.tool_calls)
        if self.reasoning:
            message["reasoning"] = self.reasoning
        return message

    @classmethod
    def from_message(cls, message: Message) -> Self:
        """Return the answer that an assistant message says."""
        calls = tuple(message.get("tool_calls") or ())
        return cls(str(message.get("content") or ""), reasoning=message.get("reasoning"), tool_calls=calls)


FailureKind: TypeAlias = Literal["rate", "quota", "credentials", "network", "server", "refused", "invalid", "crashed"]


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that got no answer: its class, a sentence, and whether asking on is pointless."""

    kind: FailureKind
    message: str
    stop: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A prompt with the answer that a student shall learn."""

    prompt: Prompt
    answer: Answer
    source: str = "teacher"
    key: str = ""

    @property
    def messages(self) -> tuple[Message, ...]:
        """Return the whole conversation, the answer last."""
        return (*self.prompt.messages, self.answer.message)

    @property
    def rejected(self) -> Answer | None:
        """Return the worse answer to the same prompt, where the row has one."""
        return Answer.from_message(self.prompt.rejected) if self.prompt.rejected else None


def answer_to_json(answer: Answer) -> JSONObject:
    """Return an answer as plain JSON, without its raw bytes; what is absent is left out."""
    usage = answer.usage
    values: JSONObject = {
        "content": answer.content,
        "reasoning": answer.reasoning,
        "tool_calls": list(answer.tool_calls),
        "finish_reason": answer.finish_reason,
        "usage": [usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens] if usage else None,
        "model": answer.model,
        "token_ids": list(answer.token_ids) if answer.token_ids is not None else None,
        "logprobs": answer.logprobs,
        "tokenizer_hash": answer.tokenizer_hash,
        "timings": answer.timings,
    }
    return {name: value for name, value in values.items() if name == "content" or value not in (None, [], {})}


def answer_from_json(value: JSONObject, raw: bytes | None = None) -> Answer:
    """Return the answer of `answer_to_json`."""
    usage, logprobs, ids = value.get("usage"), value.get("logprobs"), value.get("token_ids")
    return Answer(
        content=value["content"],
        reasoning=value.get("reasoning"),
        tool_calls=tuple(value.get("tool_calls", ())),
        finish_reason=value.get("finish_reason", "stop"),
        usage=Usage(prompt_tokens=usage[0], completion_tokens=usage[1], cached_tokens=usage[2]) if usage else None,
        model=value.get("model"),
        token_ids=tuple(ids) if ids is not None else None,
        logprobs=tuple(tuple((int(token), float(p)) for token, p in top) for top in logprobs) if logprobs else None,
        tokenizer_hash=value.get("tokenizer_hash"),
        timings=value.get("timings", {}),
        raw=raw,
    )


_SCHEMAS: dict[int, tuple[JSONObject, str]] = {}
_SCHEMAS_KEPT = 1024


def schema_digest(schema: JSONObject) -> str:
    """Return a schema's digest; thousands of rows share one schema object, and hashing it is most of a key's cost."""
    kept = _SCHEMAS.get(id(schema))
    if kept is None or kept[0] is not schema:
        if len(_SCHEMAS) >= _SCHEMAS_KEPT:
            _SCHEMAS.clear()
        kept = _SCHEMAS[id(schema)] = (schema, digest(schema))
    return kept[1]


def request_key(identity: JSONObject, messages: tuple[Message, ...], prompt: Prompt, sample: int = 0) -> str:
    """Return the versioned hash that names an answer for ever.

    It covers what the teacher is and what it is told: never the row's position, id, time, path or a plugin's version.
    """
    try:
        request = {
            "teacher": identity,
            "messages": list(messages),
            "schema": schema_digest(prompt.schema) if prompt.schema is not None else None,
            "tools": list(prompt.tools),
            "sample": sample,
        }
        return f"{KEY_VERSION}:{digest(request)}"
    except ValueError as error:  # NaN or infinity in a schema or a message
        raise DataError(f"{prompt.where or prompt.id}: {error}; a request must be plain JSON.") from error


def with_split(prompt: Prompt, split: str) -> Prompt:
    """Return the prompt assigned to a split."""
    return replace(prompt, split=split)
