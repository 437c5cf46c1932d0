"""The prompt contract: one list of messages per row, told alike to teacher and student, and hashed.

What the teacher is told about JSON, the student is told. The student's own chat template renders the messages in
training, in evaluation, in the GGUF's metadata and on the device.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from pillm.errors import DataError
from pillm.reasoning import spoken
from pillm.records import Example, JSONObject, Message, Prompt, Request, digest, request_key

if TYPE_CHECKING:
    from pathlib import Path

SchemaInPrompt: TypeAlias = Literal["none", "text"]

_LEAD = "Answer with one JSON value that satisfies this JSON Schema, and with nothing else:\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """How rows become prompts: the schema's place, and once a student is known its template and tokens."""

    schema_in_prompt: SchemaInPrompt = "none"
    system: str | None = None
    """A system message put before every row that has none."""
    template: str | None = None
    special_tokens: dict[str, int] = field(default_factory=dict)
    stop_tokens: tuple[str, ...] = ()

    def messages(self, prompt: Prompt) -> tuple[Message, ...]:
        """Return the messages of a prompt as they are sent, whoever answers."""
        first = prompt.messages[0] if prompt.messages and prompt.messages[0].get("role") in ("system", "developer") else None
        told = str(first.get("content") or "") if first else self.system or ""
        if self.schema_in_prompt == "text" and prompt.schema is not None:
            schema = json.dumps(prompt.schema, ensure_ascii=False, sort_keys=True)
            told = f"{told}\n\n{_LEAD}{schema}" if told else f"{_LEAD}{schema}"
        if first:
            return ({**first, "content": told}, *prompt.messages[1:])
        return ({"role": "system", "content": told}, *prompt.messages) if told else prompt.messages

    def conversation(self, example: Example) -> tuple[Message, ...]:
        """Return the messages of an example as they are trained on, the answer last and its reasoning, if kept, within it."""
        return (*self.messages(example.prompt), spoken(example.answer))

    def request(self, prompt: Prompt, identity: JSONObject, sample: int = 0) -> Request:
        """Return the request for a prompt; its key covers the messages as sent."""
        messages = self.messages(prompt)
        key = request_key(identity, messages, prompt, sample)
        return Request(key=key, prompt=prompt, messages=messages, sample=sample)

    def with_student(self, *, template: str, special_tokens: dict[str, int], stop_tokens: tuple[str, ...]) -> Contract:
        """Return the contract completed by what the student's tokenizer brings."""
        return replace(self, template=template, special_tokens=special_tokens, stop_tokens=stop_tokens)

    @property
    def hash(self) -> str:
        """Return the sha256 of the contract, in hexadecimal."""
        return digest(asdict(self))

    def to_json(self) -> JSONObject:
        """Return the contract and its hash as plain JSON."""
        return {**asdict(self), "stop_tokens": list(self.stop_tokens), "hash": self.hash}

    @classmethod
    def from_json(cls, value: JSONObject) -> Contract:
        """Return the contract of `to_json`; an empty object gives the plain contract."""
        known = {key: item for key, item in value.items() if key in cls.__slots__}
        return cls(**{**known, "stop_tokens": tuple(known.get("stop_tokens", ()))})

    @classmethod
    def read(cls, path: Path, remedy: str) -> Contract:
        """Return the contract that `save` wrote; raise DataError, which ends with the remedy, for a file that holds none."""
        try:
            found = cls.from_json(json.loads(path.read_text("utf-8")))
            if found.schema_in_prompt not in get_args(SchemaInPrompt):
                raise ValueError(f"schema_in_prompt is {found.schema_in_prompt!r}")
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is damaged ({error}). {remedy}") from error
        return found

    def save(self, path: Path) -> None:
        """Write the contract to a file."""
        path.write_text(json.dumps(self.to_json(), ensure_ascii=False, indent=2) + "\n", "utf-8")


def template_message(message: Message) -> Message:
    """Return a message as chat templates print it: nothing absent, the arguments of tool calls as objects.

    Whoever renders a template must pass its messages through here, or two renderings of one row may differ.
    """
    kept = {name: value for name, value in message.items() if value is not None}
    if kept.get("tool_calls"):
        kept["tool_calls"] = [_template_call(call) for call in kept["tool_calls"]]
    return kept


def _template_call(call: JSONObject) -> JSONObject:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"])
    except ValueError:
        return call  # what a teacher wrote badly is printed as it was written
    return {**call, "function": {**function, "arguments": arguments}}
