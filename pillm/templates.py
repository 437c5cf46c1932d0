"""Jinja templates over the columns of a row: they show values and choose among them, and can neither compute nor call.

The sandbox keeps a template from reaching into Python, but not from filling the memory or never ending. So there is a
short list of what a template may say, from which nothing large can be built, and a limit on what comes out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from pillm.errors import ConfigError, DataError, did_you_mean

if TYPE_CHECKING:
    from jinja2 import nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_SOURCE = 64 * 1024
MAX_TEXT = 1024 * 1024
MAX_ITEMS = 1000
MAX_LOOPS = 2
_KINDS = frozenset({
    "Template", "Output", "TemplateData", "Name", "Const", "If", "For", "CondExpr", "Filter", "Test", "Compare", "Operand",
    "And", "Or", "Not", "Neg", "Getattr", "Getitem", "Slice", "List", "Tuple",
})  # fmt: skip
_FILTERS = ("capitalize", "default", "first", "float", "int", "last", "length", "lower", "title", "trim", "upper")
_TESTS = ("boolean", "defined", "in", "integer", "mapping", "none", "number", "sequence", "string", "undefined")


class Template:
    """A checked template; `where` (`task.yaml: input`) stands in its refusals."""

    def __init__(self, text: str, where: str) -> None:
        from jinja2 import TemplateSyntaxError, meta

        if len(text) > MAX_SOURCE:
            raise ConfigError(f"{where}: the template is longer than {MAX_SOURCE // 1024} KiB.")
        self.where = where
        env = _environment()
        try:
            tree = env.parse(text)
            _check(tree, where)
            self.columns = frozenset(meta.find_undeclared_variables(tree)) - {"row"} - _optional(tree)
            """The names that a row must have: those that the template asks for without providing for their absence."""
            _bound_loops(tree)
            self._template = env.from_string(tree)
        except TemplateSyntaxError as error:
            raise ConfigError(f"{where}, line {error.lineno}: {error.message}") from error
        except (RecursionError, TypeError, ValueError, ArithmeticError) as error:  # constants are worked out beforehand
            raise ConfigError(f"{where}: the template cannot be read ({error or type(error).__name__}).") from error

    def render(self, values: Mapping[str, Any], place: str = "") -> str:
        """Return the text for these values, also reachable as `row["any name"]`; raise DataError with the row's place."""
        from jinja2 import TemplateError

        text: list[str] = []
        size = 0
        try:
            for part in self._template.generate({**values, "row": values}):
                text.append(part)
                size += len(part)
                if size > MAX_TEXT:
                    raise ValueError(f"the text is longer than {MAX_TEXT // 2**20} MiB")
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
            at = f"{place}: " if place else ""
            columns = f" The row has: {', '.join(map(str, values)) or 'nothing'}."
            raise DataError(f"{at}{self.where}: {error or type(error).__name__}.{columns}") from error
        return "".join(text)


def _check(tree: nodes.Template, where: str) -> None:
    """Raise ConfigError for the first thing in a template that is not on the list."""
    from jinja2 import nodes

    waiting: list[tuple[nodes.Node, int]] = [(tree, 0)]
    while waiting:
        node, loops = waiting.pop()
        kind, place = type(node).__name__, f"{where}, line {node.lineno}"
        if kind not in _KINDS:
            raise ConfigError(
                f"{place}: a template shows columns: {kind.lower()!r} is not for it. "
                "There are {{ column }}, {% if %}, {% for %} and filters."
            )
        for wanted, names, word in ((nodes.Filter, (*_FILTERS, *_OWN), "filter"), (nodes.Test, _TESTS, "test")):
            if isinstance(node, wanted) and node.name not in names:
                raise ConfigError(
                    f"{place}: no {word} is called {node.name!r}.{did_you_mean(node.name, names)} Known: {', '.join(names)}."
                )
        if isinstance(node, nodes.For):
            loops += 1
            if node.recursive or loops > MAX_LOOPS:
                raise ConfigError(f"{place}: loops may stand at most {MAX_LOOPS} deep.")
        waiting += [(child, loops) for child in node.iter_child_nodes()]


def _optional(tree: nodes.Template) -> frozenset[str]:
    """Return the names whose absence a template provides for: {{ a|default("") }}, {% if a is defined %}."""
    from jinja2 import nodes

    asked = [node.node for node in tree.find_all(nodes.Filter) if node.name == "default"]
    asked += [node.node for node in tree.find_all(nodes.Test) if node.name in ("defined", "undefined")]
    return frozenset(node.name for node in asked if isinstance(node, nodes.Name))


def _bound_loops(tree: nodes.Template) -> None:
    from jinja2 import nodes

    for loop in tree.find_all(nodes.For):
        loop.iter = nodes.Filter(loop.iter, "_bounded", [], [], None, None, lineno=loop.lineno)


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    env = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, finalize=_shown, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    env.globals.clear()
    env.filters = {name: env.filters[name] for name in _FILTERS}
    env.filters |= {**_OWN, "_bounded": _bounded}
    env.tests = {name: env.tests[name] for name in _TESTS}
    return env


def _shown(value: Any) -> Any:
    """Return what stands in the text for a value: nothing for null, JSON for what is no text or number."""
    return "" if value is None else _json(value) if isinstance(value, bool | dict | list) else value


def _json(value: Any) -> str:
    text: str = json.dumps(value, ensure_ascii=False)
    return text


def _bounded(items: Any) -> Iterator[Any]:
    for number, item in enumerate(items):
        if number >= MAX_ITEMS:
            raise ValueError(f"a loop goes over more than {MAX_ITEMS} items")
        yield item


def _join(items: Any, between: str = "") -> str:
    texts = [str(_shown(item)) for item in _bounded(items)]
    _fit(sum(map(len, texts)) + len(between) * len(texts))
    return between.join(texts)


def _replace(text: Any, old: str, new: str) -> str:
    said = str(text)
    _fit(len(said) + said.count(old) * (len(new) - len(old)))
    return said.replace(old, new)


def _round(number: Any, digits: int = 0) -> Any:
    return round(float(number), digits) if digits else round(float(number))


_OWN = {"join": _join, "json": _json, "replace": _replace, "round": _round}
"""Filters that could build something large, or escape what is no HTML: here they cannot."""


def _fit(size: int) -> None:
    if size > MAX_TEXT:
        raise ValueError(f"a text is longer than {MAX_TEXT // 2**20} MiB")
