"""Render chat templates as transformers does: the same sandbox, tags and filters."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

import pillm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_REASONING = ("reasoning_content", "thinking", "reasoning")


class Generation(jinja2.ext.Extension):
    """`{% generation %}` marks the assistant's words for training; rendered, it is its content."""

    tags = {"generation"}  # noqa: RUF012 - as its base class declares it

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        """Return the block's content as a scope of its own."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        # a call block, not a plain scope: variables set inside must not leak, as in transformers
        return jinja2.nodes.CallBlock(self.call_method("_content"), [], [], body).set_lineno(line)

    def _content(self, caller: Any) -> str:
        return str(caller())


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None,
            sort_keys: bool = False) -> str:  # fmt: skip
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class ChatTemplate:
    """A model's chat template, ready to render; the special tokens are those that the template may name."""

    def __init__(self, source: str, specials: Mapping[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals.update(raise_exception=_raise, strftime_now=self._now)
        self._template = environment.from_string(source)
        self._specials = dict(specials)
        self.day: date | None = None
        """The day that templates print; none: today."""

    def _now(self, form: str) -> str:
        now = datetime.now()
        return (datetime.combine(self.day, now.time()) if self.day else now).strftime(form)

    def render(self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Any] = (), ask: bool = True) -> str:
        """Return the conversation as text; `ask` ends it with the header of the answer. Raises jinja2.TemplateError."""
        return self._template.render(
            messages=[_aliased(pillm.template_message(message)) for message in messages],
            tools=list(tools) or None,
            documents=None,
            add_generation_prompt=ask,
            **self._specials,
        )


def _aliased(message: dict[str, Any]) -> dict[str, Any]:
    """Give reasoning every name that templates read it by."""
    found = next((message[name] for name in _REASONING if message.get(name) is not None), None)
    return message if found is None else {"thinking": found, **message, "reasoning_content": found}
