"""Random walks through grammars, by llama.cpp's own reading of them: what a model that knows nothing would answer."""

from __future__ import annotations

import random
import re

import numpy as np
from pillm_llamacpp.grammars.quoted import RULES
from pillm_llamacpp.inference.sampling import Grammar
from pillm_llamacpp.process.serving import Served

_CLOSING = (b'"', b"}", b"]")
_AS_LIKELY = 40


def walk(served: Served, gbnf: str, seed: int, most: int = 160) -> str | None:
    """Return a text that the grammar lets through, None where it was not finished in time; raise where nothing may follow."""
    grammar, draw, text = Grammar.compile(served.model, gbnf), random.Random(seed), b""
    ids, ends = np.arange(served.model.n_vocab), served.model.ends
    pieces = [served.model.piece(token) for token in range(served.model.n_vocab)]
    zeros = np.zeros(len(ids), np.float32)
    try:
        for step in range(most):
            allowed = np.flatnonzero(np.isfinite(grammar.mask(ids, zeros))).tolist()
            if not allowed:
                raise AssertionError(f"nothing may follow {text.decode('utf-8', 'replace')!r}")
            if ends & set(allowed) and (draw.random() < 0.5 or step > most // 2):
                return _whole(text)
            # a model that writes single bytes at random writes no text; llama.cpp lets some of them through
            allowed = [token for token in allowed if token not in ends and _whole(pieces[token])] or allowed
            likely = [_AS_LIKELY if pieces[token].startswith(_CLOSING) and step > most // 4 else 1 for token in allowed]
            (token,) = draw.choices(allowed, likely)
            if token in ends:
                return _whole(text)
            text += pieces[token]
            grammar.accept(token)
        return None
    finally:
        grammar.close()


def _whole(text: bytes) -> str | None:
    """Return the text of bytes; None where a byte stands alone: llama.cpp lets some through, and answers are looked at."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return None


def accepts(served: Served, gbnf: str, text: str) -> bool:
    """Say whether a grammar lets a whole text through."""
    grammar = Grammar.compile(served.model, gbnf)
    try:
        for token in served.model.tokenize(text):
            if not grammar.allows(token):
                return False
            grammar.accept(token)
        return any(grammar.allows(end) for end in served.model.ends)
    finally:
        grammar.close()


_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|(\[(?:[^\]\\]|\\.)*\])|([a-z][a-z-]*)|([()|?*+]|\{\d+(?:,\d*)?\})|\s+')


def regex(expression: str) -> re.Pattern[str]:
    """Return an expression of a grammar as Python's own regular expression, another reading of it."""
    return re.compile(_regex(expression))


def _regex(expression: str) -> str:
    made, place = [], 0
    while place < len(expression):
        found = _TOKEN.match(expression, place)
        assert found, expression[place:]
        place = found.end()
        literal, letters, name, sign = found.groups()
        if literal is not None:
            text = re.sub(r"\\(.)", lambda one: _UNESCAPED.get(one[1], one[1]), literal)
            made.append(f"(?:{re.escape(text)})")
        elif name:
            made.append(f"(?:{_regex(RULES[name])})")
        else:
            made.append(letters or ("(?:" if sign == "(" else sign) or "")
    return "".join(made)


_UNESCAPED = {"n": "\n", "r": "\r", "t": "\t"}
