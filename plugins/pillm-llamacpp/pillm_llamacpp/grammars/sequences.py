"""Alternatives of a grammar, with what they share at their beginning written once.

llama.cpp follows every alternative that may still be meant, token by token. Written as a tree of letters, as here, that is
one at nearly every place, however many values an enum has or tools a union.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeAlias

Atom: TypeAlias = tuple[bool, str]
"""Whether it is a letter, and the letter, else an expression of the grammar."""
Sequence: TypeAlias = tuple[Atom, ...]
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
BLANK: Sequence = ((False, "ws"),)


def letters(text: str) -> Sequence:
    """Return a text as a sequence."""
    return tuple((True, letter) for letter in text)


def rule(name: str) -> Sequence:
    """Return an expression of the grammar, such as a rule's name, as a sequence."""
    return ((False, name),)


def constant(value: Any) -> Sequence:
    """Return the sequence of a JSON value that is known, blanks being free where they are."""
    if isinstance(value, dict):
        members = [letters(json.dumps(key, ensure_ascii=False) + ":") + BLANK + constant(one) for key, one in value.items()]
        return enclosed("{", members, "}")
    if isinstance(value, list):
        return enclosed("[", [constant(one) for one in value], "]")
    return letters(json.dumps(value, ensure_ascii=False))


def enclosed(start: str, members: Iterable[Sequence], end: str) -> Sequence:
    """Return members between brackets, separated by commas."""
    found: Sequence = ()
    for number, member in enumerate(members):
        found += (letters(",") if number else ()) + BLANK + member
    return letters(start) + found + BLANK + letters(end)


def union(alternatives: Iterable[Sequence]) -> str:
    """Return the expression of a choice between sequences."""
    tree: dict[Atom | None, Any] = {}
    for sequence in alternatives:
        node = tree
        for atom in sequence:
            node = node.setdefault(atom, {})
        node[None] = {}
    return _written(tree)


def _written(node: dict[Atom | None, Any]) -> str:
    parts, run = [], ""
    while len(node) == 1 and None not in node:
        (((letter, text), node),) = node.items()  # type: ignore[misc]  # it is no end, as was just looked at
        if letter:
            run += text
            continue
        parts += [_literal(run)] if run else []
        run = ""
        parts.append(text)
    parts += [_literal(run)] if run else []
    branches = [_written({atom: child}) for atom, child in node.items() if atom is not None]
    if branches:
        parts.append(f"( {' | '.join(branches)} )" + ("?" if None in node else ""))
    return " ".join(parts) or '""'


def _literal(text: str) -> str:
    return '"' + "".join(_ESCAPES.get(letter, letter) for letter in text) + '"'
