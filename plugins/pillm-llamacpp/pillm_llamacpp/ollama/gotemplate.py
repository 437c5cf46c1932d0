"""The part of Go's text/template that pillm writes for Ollama, evaluated: to prove what a template says without Go.

Actions: a field, `if`/`else if`/`else`/`end`, `range`, a variable's definition; functions: and, or, not, eq, ne, len, slice.
Whatever else stands in a template is refused. Source: https://pkg.go.dev/text/template.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

Scope: TypeAlias = dict[str, Any]
Node: TypeAlias = Callable[[Any, Scope], str]

_ACTION = re.compile(r"\{\{(-(?=\s))?\s*(.*?)\s*((?<=\s)-)?\}\}", re.DOTALL)
_WORD = re.compile(r'\s*(?:"(?:[^"\\]|\\.)*"|\d+|[()]|\$?\w*(?:\.\w+)*\.?)')
_FIELD = re.compile(r"(\$\w*)?((?:\.\w+)*)|\.")
MAX_DEPTH = 32


class Unsupported(ValueError):
    """A template that is not of the part of the language that is known here, or cannot be evaluated."""


class Part(NamedTuple):
    """A piece of a template: a text, or an action."""

    text: str
    is_action: bool


class GoTemplate:
    """A parsed template."""

    def __init__(self, source: str) -> None:
        """Parse a template; raise Unsupported for what is not known here."""
        self._parts = _split(source)
        self._at = 0
        self._body = self._block(0)
        if self._at < len(self._parts):
            raise Unsupported(f"{self._parts[self._at].text!r} ends nothing")

    def execute(self, data: Mapping[str, Any]) -> str:
        """Return the template's text for some data; raise Unsupported where a field is missing or a value has another kind."""
        return self._body(data, {"$": data})

    def _block(self, depth: int) -> Node:
        """Parse up to the `end` or `else` that closes a block, and leave that in place."""
        if depth > MAX_DEPTH:
            raise Unsupported(f"blocks stand deeper than {MAX_DEPTH}")
        nodes: list[Node] = []
        while self._at < len(self._parts):
            part = self._parts[self._at]
            if part.is_action and re.match(r"(?:end|else)\b", part.text):
                break
            self._at += 1
            nodes.append(self._action(part.text, depth) if part.is_action else _text(part.text))

        def run(dot: Any, scope: Scope) -> str:
            inner = dict(scope)  # a variable lives until its block ends
            return "".join(node(dot, inner) for node in nodes)

        return run

    def _action(self, text: str, depth: int) -> Node:
        word, _, rest = text.partition(" ")
        if word == "if":
            return self._if(rest, depth)
        if word == "range":
            return self._range(rest, depth)
        defined = re.fullmatch(r"(\$\w+)\s*:=\s*(.+)", text, re.DOTALL)
        if defined:
            return _define(defined[1], _expression(defined[2]))
        return _show(_expression(text))

    def _if(self, condition: str, depth: int) -> Node:
        asked, then = _expression(condition), self._block(depth + 1)
        closing = self._next("an `if`")
        other: Node = _text("")
        if closing.startswith("else if "):
            other = self._if(closing.removeprefix("else if "), depth + 1)
        elif closing == "else":
            other = self._block(depth + 1)
            self._end()
        elif closing != "end":
            raise Unsupported(f"{closing!r} closes no `if`")
        return lambda dot, scope: (then if _true(asked(dot, scope)) else other)(dot, scope)

    def _range(self, text: str, depth: int) -> Node:
        names = re.fullmatch(r"(?:(\$\w+)\s*,\s*(\$\w+)\s*:=\s*)?(.+)", text, re.DOTALL)
        if names is None:
            raise Unsupported(f"range {text!r}")
        items, body = _expression(names[3]), self._block(depth + 1)
        self._end()

        def run(dot: Any, scope: Scope) -> str:
            found = items(dot, scope)
            if not isinstance(found, Sequence) or isinstance(found, str):
                raise Unsupported("a range goes over a list")
            named = [{names[1]: at, names[2]: one} if names[1] else {} for at, one in enumerate(found)]
            return "".join(body(one, {**scope, **more}) for one, more in zip(found, named, strict=True))

        return run

    def _next(self, what: str) -> str:
        if self._at >= len(self._parts):
            raise Unsupported(f"{what} has no end")
        self._at += 1
        return self._parts[self._at - 1].text

    def _end(self) -> None:
        if self._next("a block") != "end":
            raise Unsupported("a block is closed twice")


def _split(source: str) -> list[Part]:
    parts: list[Part] = []
    at, trim = 0, False
    for match in _ACTION.finditer(source):
        text = source[at : match.start()]
        text = text.lstrip(" \t\r\n") if trim else text
        text = text.rstrip(" \t\r\n") if match[1] else text
        parts += [Part(text, False)] if text else []
        parts.append(Part(match[2], True))
        at, trim = match.end(), bool(match[3])
    rest = source[at:].lstrip(" \t\r\n") if trim else source[at:]
    if any("{{" in part.text for part in parts if not part.is_action) or "{{" in rest:
        raise Unsupported("an action has no end")
    return [*parts, Part(rest, False)] if rest else parts


def _text(text: str) -> Node:
    return lambda _dot, _scope: text


def _show(value: Callable[[Any, Scope], Any]) -> Node:
    def run(dot: Any, scope: Scope) -> str:
        found = value(dot, scope)
        if not isinstance(found, str):
            raise Unsupported(f"{found!r} is shown, which is no text")
        return found

    return run


def _define(name: str, value: Callable[[Any, Scope], Any]) -> Node:
    def run(dot: Any, scope: Scope) -> str:
        scope[name] = value(dot, scope)
        return ""

    return run


def _true(value: Any) -> bool:
    """Return Go's truth of a value: false, 0, and whatever is empty are false."""
    return bool(value)


def _expression(text: str) -> Callable[[Any, Scope], Any]:
    words = _words(text)
    value, rest = _call(words)
    if rest:
        raise Unsupported(f"{text!r} is more than one expression")
    return value


def _words(text: str) -> list[str]:
    words, at = [], 0
    while at < len(text.rstrip()):
        match = _WORD.match(text, at)
        if match is None or match.end() == at or not match[0].strip():
            raise Unsupported(f"{text[at:]!r} is not understood")
        words.append(match[0].strip())
        at = match.end()
    return words


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "and": lambda *values: next((value for value in values if not _true(value)), values[-1]),
    "or": lambda *values: next((value for value in values if _true(value)), values[-1]),
    "not": lambda value: not _true(value),
    "eq": lambda first, *others: any(type(first) is type(other) and first == other for other in others),
    "ne": lambda first, other: first != other,
    "len": len,
    "slice": lambda value, *places: value[slice(*places)] if len(places) > 1 else value[places[0] :],
}


def _call(words: list[str]) -> tuple[Callable[[Any, Scope], Any], list[str]]:
    """Parse a function with its arguments, or one operand."""
    if words and words[0] in _FUNCTIONS:
        function, arguments, rest = _FUNCTIONS[words[0]], [], words[1:]
        while rest and rest[0] != ")":
            one, rest = _operand(rest)
            arguments.append(one)

        def run(dot: Any, scope: Scope) -> Any:
            try:
                return function(*(argument(dot, scope) for argument in arguments))
            except (TypeError, IndexError) as error:
                raise Unsupported(f"{words[0]}: {error}") from error

        return run, rest
    return _operand(words)


def _operand(words: list[str]) -> tuple[Callable[[Any, Scope], Any], list[str]]:
    if not words:
        raise Unsupported("a value is missing")
    word, rest = words[0], words[1:]
    if word == "(":
        value, rest = _call(rest)
        if not rest or rest[0] != ")":
            raise Unsupported("a bracket is not closed")
        return value, rest[1:]
    if word.startswith('"') or word.isdigit():
        known = json.loads(word)
        return (lambda _dot, _scope: known), rest
    field = _FIELD.fullmatch(word)
    if field is None or not (word.startswith((".", "$"))):
        raise Unsupported(f"{word!r} is not known")
    names = [name for name in (field[2] or "").split(".") if name]
    return (lambda dot, scope: _walk(scope, dot, field[1], names)), rest


def _walk(scope: Scope, dot: Any, variable: str | None, names: list[str]) -> Any:
    found = dot
    if variable:
        if variable not in scope:
            raise Unsupported(f"{variable} was never set")
        found = scope[variable]
    for name in names:
        if not isinstance(found, Mapping) or name not in found:
            raise Unsupported(f"there is no field {name!r}")
        found = found[name]
    return found
