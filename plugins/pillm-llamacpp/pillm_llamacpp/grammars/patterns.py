"""Regular expressions of JSON Schema as expressions of a grammar; what stands for more than a grammar can say is refused."""

from __future__ import annotations

import re

from pillm_llamacpp.grammars.quoted import SAFE

_CLASSES = {"d": "0-9", "w": "A-Za-z0-9_", "s": " "}
_SPACES = r" \x85\xA0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000\uFEFF"
_BEYOND_ASCII = r"\u0080-\U0010FFFF"
_EXCLUDED = {"d": f"0-9{_BEYOND_ASCII}", "w": f"A-Za-z0-9_{_BEYOND_ASCII}", "s": _SPACES}
"""What a negated class keeps out: validators differ on whether other scripts' digits, letters and spaces belong to a class."""
_PUNCTUATION = set(".-+*?()[]{}|/^$@#%&=<>!~;:,' ")
_PLAIN = re.compile(r"[^\"\\\x00-\x1f\x7f\ud800-\udfff.^$*+?()\[\]{}|]")
_QUANTIFIER = re.compile(r"\{(\d{1,3})(,(\d{0,3}))?\}|[*+?]")
_IN_SETS = {"]": r"\x5D", "[": r"\x5B", "^": r"\x5E", "-": r"\x2D"}
_UNSAFE = r'"\\\x00-\x1F\x7F'


def pattern_expression(pattern: object) -> str:
    """Return an expression whose texts all match a pattern; raise ValueError naming what is not supported.

    Where the pattern leaves room before or after what it asks for, anything may stand there.
    """
    if not isinstance(pattern, str) or len(pattern) > 500:
        raise ValueError("it is longer than 500 characters")
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(str(error)) from error
    starts, ends = pattern.startswith("^"), pattern.endswith("$") and not pattern.endswith("\\$")
    body = pattern[int(starts) : len(pattern) - int(ends)]
    made, place = [], 0
    while place < len(body):
        part, place = _part(body, place)
        made.append(part)
    inner = f"( {' '.join(made)} )" if made else '""'
    return " ".join([*([] if starts else [f"{SAFE}*"]), inner, *([] if ends else [f"{SAFE}*"])])


def _part(body: str, place: int) -> tuple[str, int]:
    sign = body[place]
    if sign == "\\":
        return _escape(body, place)
    if sign == "[":
        return _set(body, place)
    if sign == ".":
        return SAFE, place + 1
    if sign == "(" and body[place + 1 : place + 2] == "?":
        if body[place + 1 : place + 3] != "?:":
            raise ValueError("groups that begin with (? are not supported")
        return _open(body, place + 3)
    if sign == "(":
        return _open(body, place + 1)
    if sign in ")|":
        return sign, place + 1
    if quantifier := _QUANTIFIER.match(body, place):
        if body[quantifier.end() : quantifier.end() + 1] in ("?", "+"):
            raise ValueError("lazy and possessive quantifiers are not supported")
        return quantifier[0], quantifier.end()
    if not _PLAIN.fullmatch(sign):
        raise ValueError(f"{sign!r} is not supported there (it could let an answer leave its string)")
    return f'"{sign}"', place + 1


def _open(body: str, place: int) -> tuple[str, int]:
    if body[place : place + 1] in ("|", ")"):
        raise ValueError("an empty alternative is not supported")
    return "(", place


def _escape(body: str, place: int) -> tuple[str, int]:
    following = body[place + 1 : place + 2]
    if following and following in _CLASSES:
        return f"[{_CLASSES[following]}]", place + 2
    if following == "S":
        return f"[^{_SPACES}{_UNSAFE}]", place + 2
    if not following or following not in _PUNCTUATION:
        raise ValueError(f"the escape \\{following} is not supported")
    return f'"{following}"', place + 2


def _set(body: str, place: int) -> tuple[str, int]:
    end = place + 1
    made: list[str] = []
    negated = body[end : end + 1] == "^"
    end += negated
    while end < len(body) and (body[end] != "]" or not made):
        sign = body[end]
        if sign == "\\":
            following = body[end + 1 : end + 2]
            if following not in _CLASSES and following not in _PUNCTUATION:
                raise ValueError(f"the escape \\{following} in a set is not supported")
            classes = _EXCLUDED if negated else _CLASSES
            made.append(classes.get(following) or _IN_SETS.get(following, following))
            end += 2
            continue
        if not (_PLAIN.fullmatch(sign) or sign in ".+*?(){}|$"):
            raise ValueError(f"{sign!r} in a set is not supported (it could let an answer leave its string)")
        made.append(sign)
        end += 1
    text = "".join(made)
    _refuse_wide_ranges(text)
    return f"[^{text}{_UNSAFE}]" if negated else f"[{text}]", end + 1


def _refuse_wide_ranges(text: str) -> None:
    """Refuse a range that reaches over quotes or backslashes: they would end the string, or need one more backslash."""
    for low, high in re.findall(r"([^\\])-([^\\\]])", text):
        if any(low <= sign <= high for sign in '"\\\x7f') or high < low:
            raise ValueError(f"the range {low}-{high} is not supported (it could let an answer leave its string)")
