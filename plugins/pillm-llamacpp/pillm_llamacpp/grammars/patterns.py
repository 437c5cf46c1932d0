"""Regular expressions of JSON Schema in the form that the grammar converter translates faithfully."""

from __future__ import annotations

import re

_CLASSES = {"d": "0-9", "w": "A-Za-z0-9_"}
_PUNCTUATION = set(".-+*?()[]{}|/^$@#%&=<>!~;:,' ")
_PLAIN = re.compile(r"[A-Za-z0-9 _\-:/,@#%&=<>!~;'À-ÿ]")
_QUANTIFIER = re.compile(r"\{(\d{1,3})(,(\d{0,3}))?\}|[*+?]")


def simple_pattern(pattern: object) -> str:
    """Return the same language as a pattern without escapes; raise ValueError naming what is not supported."""
    if not isinstance(pattern, str) or not (pattern.startswith("^") and pattern.endswith("$")) or len(pattern) > 500:
        raise ValueError("it must begin with ^ and end with $")
    re.compile(pattern)
    body, made, place = pattern[1:-1], [], 0
    while place < len(body):
        part, place = _part(body, place)
        made.append(part)
    # the converter would let a | at the top reach over the quotes
    return f"^({''.join(made)})$"


def _part(body: str, place: int) -> tuple[str, int]:
    sign = body[place]
    if sign == "\\":
        return _escape(body, place)
    if sign == "[":
        return _set(body, place)
    if sign == "(" and body[place + 1 : place + 2] == "?":
        if body[place + 1 : place + 3] != "?:":
            raise ValueError("groups that begin with (? are not supported")
        return "(", place + 3
    if sign in "()|":
        return sign, place + 1
    quantifier = _QUANTIFIER.match(body, place)
    if quantifier:
        if body[quantifier.end() : quantifier.end() + 1] in ("?", "+"):
            raise ValueError("lazy and possessive quantifiers are not supported")
        return quantifier[0], quantifier.end()
    if not _PLAIN.fullmatch(sign):
        raise ValueError(f"{sign!r} is not supported (it could let an answer leave its string)")
    return sign, place + 1


def _escape(body: str, place: int) -> tuple[str, int]:
    following = body[place + 1 : place + 2]
    if following in _CLASSES and following:
        return f"[{_CLASSES[following]}]", place + 2
    if following not in _PUNCTUATION or not following:
        raise ValueError(f"the escape \\{following} is not supported")
    if following in "[]^-":
        raise ValueError(f"the escape \\{following} is not supported")
    return f"[{following}]", place + 2


def _set(body: str, place: int) -> tuple[str, int]:
    end = place + 1
    made = ["["]
    while end < len(body) and body[end] != "]":
        sign = body[end]
        if sign == "\\":
            following = body[end + 1 : end + 2]
            if following not in _CLASSES and (following not in _PUNCTUATION or following in "[]^-"):
                raise ValueError(f"the escape \\{following} in a set is not supported")
            made.append(_CLASSES.get(following, following))
            end += 2
            continue
        if not (_PLAIN.fullmatch(sign) or sign in ".+*?(){}|$"):
            raise ValueError(f"{sign!r} in a set is not supported (it could let an answer leave its string)")
        made.append(sign)
        end += 1
    made.append("]")
    return "".join(made), end + 1
