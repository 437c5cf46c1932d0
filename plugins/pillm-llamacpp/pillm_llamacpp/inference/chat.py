"""Render chat templates as transformers does, in the same sandbox, within a time and a memory."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import jinja2

import pillm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_REASONING = ("reasoning_content", "thinking", "reasoning")
_MEGABYTES = 256


class ChatTemplate:
    """A model's chat template, ready to render; the special tokens are those that the template may name."""

    def __init__(self, source: str, specials: Mapping[str, str]) -> None:
        """Compile a template; raise jinja2.TemplateError where it cannot be read, or not within time and memory."""
        environment = pillm.chat_environment(self._now)
        with _told(), pillm.limited_rendering(megabytes=_MEGABYTES):
            self._template = environment.from_string(source)
        self._specials = dict(specials)
        self.day: date | None = None
        """The day that templates print; none: today."""

    def _now(self, form: str) -> str:
        now = datetime.now()
        return (datetime.combine(self.day, now.time()) if self.day else now).strftime(form)

    def render(self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Any] = (), ask: bool = True) -> str:
        """Return the conversation as text; `ask` ends it with the header of the answer. Raises jinja2.TemplateError."""
        with _told(), pillm.limited_rendering(megabytes=_MEGABYTES):
            return self._template.render(
                messages=[_aliased(pillm.template_message(dict(message))) for message in messages],
                tools=list(tools) or None,
                documents=None,
                add_generation_prompt=ask,
                **self._specials,
            )


class _told:  # noqa: N801 - reads as a statement
    """Tell a rendering that went past its limits as what it is: a template that does not render."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, TimeoutError):
            raise jinja2.TemplateError(str(error)) from error
        if isinstance(error, (MemoryError, RecursionError)):
            raise jinja2.TemplateError(f"the chat template takes more than {_MEGABYTES} MiB or never ends") from error


def _aliased(message: dict[str, Any]) -> dict[str, Any]:
    """Give reasoning every name that templates read it by."""
    found = next((message[name] for name in _REASONING if message.get(name) is not None), None)
    return message if found is None else {"thinking": found, **message, "reasoning_content": found}
