"""HTML and SVG elements that cannot be broken out of: every text is escaped, whoever wrote it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import TypeAlias

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9:-]*")
_EMPTY = frozenset({"br", "meta", "hr", "circle", "line", "rect", "path", "polyline"})
# control signs and the ones that turn the direction of writing: shown, never obeyed
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Markup(str):
    """Text that is HTML already; only `tag`, `join` and `raw` make it."""

    __slots__ = ()


Child: TypeAlias = "str | int | float | Markup | Iterable[Child] | None"


def text(value: object) -> Markup:
    """Return any value as escaped text; signs that hide or turn text are shown by their number."""
    if isinstance(value, Markup):
        return value
    plain = _SURROGATE.sub("\ufffd", str(value))
    return Markup(html.escape(_HIDDEN.sub(lambda sign: f"\u2039{ord(sign[0]):04X}\u203a", plain), quote=True))


def tag(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """Return an element; `class_` writes class, `stroke_width` stroke-width; None and False leave an attribute out."""
    written = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None and value is not False)
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no element name")
    if name in _EMPTY and not children:
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: Child) -> Markup:
    """Return children one after the other; None is left out."""
    return Markup("".join(_flat(children)))


def raw(markup: str) -> Markup:
    """Take a text of our own as HTML; never one that came from outside."""
    return Markup(markup)


def _flat(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, (str, int, float)):
            yield text(_number(child) if isinstance(child, float) else child)
        else:
            yield from _flat(child)


def _attribute(key: str, value: str | int | float | bool) -> str:
    name = key.rstrip("_").replace("_", "-")
    if name == "viewbox":
        name = "viewBox"
    if not _NAME.fullmatch(name) or name.startswith("on"):
        raise ValueError(f"{name!r} is no attribute of ours")
    if value is True:
        return f" {name}"
    return f' {name}="{text(_number(value) if isinstance(value, float) else value)}"'


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
