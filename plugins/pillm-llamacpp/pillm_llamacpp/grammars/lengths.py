"""An expression of a grammar held to a length: the texts of a pattern or a format that are neither too short nor too long."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from pillm_llamacpp.grammars.sequences import Sequence, union

_TOKEN = re.compile(
    r'\s*(?:"((?:[^"\\]|\\.)*)"|(\[(?:[^\]\\]|\\.)*\])|([a-z][a-z-]*)|([()|])|([?*+])|\{(\d+)(?:(,)(\d*))?\})\s*'
)
_REPEATS: dict[str, tuple[int, int | None]] = {"?": (0, 1), "*": (0, None), "+": (1, None)}
_MOST_PLACES, _MOST_RULES = 300, 400


class TooMany(Exception):
    """The grammar would be larger than is sensible."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an expression: a letter, parts in a row, alternatives, or a part repeated `low` to `high` times."""

    kind: str
    text: str = ""
    parts: tuple[Part, ...] = ()
    low: int = 1
    high: int | None = 1

    def span(self) -> tuple[int, int | None]:
        """Return the fewest and the most letters that it stands for; None: there is no most."""
        if self.kind == "letter":
            return 1, 1
        spans = [part.span() for part in self.parts]
        mosts = [most for _, most in spans if most is not None]
        endless = len(mosts) < len(spans)
        if self.kind == "row":
            return sum(least for least, _ in spans), None if endless else sum(mosts)
        if self.kind == "choice":
            return min(least for least, _ in spans), None if endless else max(mosts)
        ((least, most),) = spans
        most = 0 if most == 0 or self.high == 0 else None if most is None or self.high is None else most * self.high
        return least * self.low, most

    def __str__(self) -> str:
        if self.kind == "letter":
            return self.text
        inner = (" | " if self.kind == "choice" else " ").join(map(str, self.parts)) or '""'
        if self.kind == "repeat":
            return f"( {inner} ){{{self.low},{'' if self.high is None else self.high}}}"
        return f"( {inner} )"


def held(expression: str, low: int, high: int | None, name: Callable[[str], Sequence]) -> str | None:
    """Return the expression of those texts of another that have `low` to `high` letters; None where there are none.

    `name` makes an expression a rule. Raises TooMany where that takes too many rules.
    """
    whole = read(expression)
    least, most = whole.span()
    if (high is not None and least > high) or (most is not None and most < low):
        return None
    if least >= low and (high is None or (most is not None and most <= high)):
        return expression
    row = _row(whole)
    varying = [place for place, part in enumerate(row) if part.span()[0] != part.span()[1]]
    if len(varying) == 1 and row[varying[0]].kind == "repeat" and row[varying[0]].parts[0].span() == (1, 1):
        return _tightened(row, varying[0], low, high)
    return _Counted(whole, low, high, name).expression()


def _row(part: Part) -> list[Part]:
    return [inner for one in part.parts for inner in _row(one)] if part.kind == "row" else [part]


def _tightened(row: list[Part], place: int, low: int, high: int | None) -> str | None:
    """Return a row whose one part of no fixed length is repeated as often as the length allows."""
    one, others = row[place], sum(part.span()[0] for number, part in enumerate(row) if number != place)
    least = max(one.low, low - others)
    mosts = [most for most in (one.high, None if high is None else high - others) if most is not None]
    most = min(mosts) if mosts else None
    if most is not None and most < least:
        return None
    return " ".join(map(str, [*row[:place], Part("repeat", parts=one.parts, low=least, high=most), *row[place + 1 :]]))


def read(expression: str) -> Part:
    """Return an expression as parts; a rule's name stands for one letter."""
    tokens, place = [], 0
    while place < len(expression):
        found = _TOKEN.match(expression, place)
        if not found:
            raise TooMany(expression[place:])
        tokens.append(found)
        place = found.end()
    tokens.reverse()
    return _choice(tokens)


def _choice(tokens: list[re.Match[str]]) -> Part:
    """Return the alternatives up to a closing bracket, which is taken too; what was read is taken off the tokens' end."""
    rows: list[list[Part]] = [[]]
    while tokens:
        literal, letters, rule, sign, repeat, least, comma, most = tokens.pop().groups()
        if sign == ")":
            break
        if sign == "|":
            rows.append([])
        elif sign == "(":
            rows[-1].append(_choice(tokens))
        elif repeat or least:
            low, high = _REPEATS[repeat] if repeat else (int(least), (int(most) if most else None) if comma else int(least))
            rows[-1].append(Part("repeat", parts=(rows[-1].pop(),), low=low, high=high))
        elif literal is not None:
            signs = tuple(Part("letter", f'"{one}"') for one in re.findall(r"\\.|[^\\]", literal))
            rows[-1].append(signs[0] if len(signs) == 1 else Part("row", parts=signs))
        else:
            rows[-1].append(Part("letter", letters or rule))
    made = [Part("row", parts=tuple(row)) for row in rows]
    return made[0] if len(made) == 1 else Part("choice", parts=tuple(made))


class _Counted:
    """The letters of an expression, which may follow which, and how many were written: a rule for each of both."""

    def __init__(self, whole: Part, low: int, high: int | None, name: Callable[[str], Sequence]) -> None:
        self._low, self._high, self._name = low, high, name
        self._letters: list[str] = []
        self._next: list[set[int]] = []
        self._empty, self._firsts, self._lasts = self._walk(whole)
        self._rules: dict[tuple[frozenset[int], bool, int], Sequence | None] = {}

    def _walk(self, part: Part) -> tuple[bool, frozenset[int], frozenset[int]]:
        """Return whether a part may be empty, and the letters that it may begin and end with (Glushkov's construction)."""
        if part.kind == "letter":
            if len(self._letters) == _MOST_PLACES:
                raise TooMany
            self._letters.append(part.text)
            self._next.append(set())
            here = frozenset({len(self._letters) - 1})
            return False, here, here
        if part.kind == "choice":
            found = [self._walk(one) for one in part.parts]
            firsts = frozenset(one for _, begin, _ in found for one in begin)
            lasts = frozenset(one for _, _, end in found for one in end)
            return any(able for able, _, _ in found), firsts, lasts
        if part.kind == "repeat":
            return self._repeated(part)
        return self._joined([self._walk(one) for one in part.parts])

    def _repeated(self, part: Part) -> tuple[bool, frozenset[int], frozenset[int]]:
        (inner,) = part.parts
        if part.high is not None:
            found = [self._walk(inner) for _ in range(part.high)]
            return self._joined([(one[0] or number >= part.low, *one[1:]) for number, one in enumerate(found)])
        found = [self._walk(inner) for _ in range(max(1, part.low))]
        for last in found[-1][2]:
            self._next[last] |= found[-1][1]
        return self._joined([(one[0] or part.low == 0, *one[1:]) for one in found])

    def _joined(self, row: list[tuple[bool, frozenset[int], frozenset[int]]]) -> tuple[bool, frozenset[int], frozenset[int]]:
        empty, firsts, lasts = True, frozenset[int](), frozenset[int]()
        for able, begin, end in row:
            for last in lasts:
                self._next[last] |= begin
            firsts = firsts | begin if empty else firsts
            lasts = lasts | end if able else end
            empty = empty and able
        return empty, firsts, lasts

    def expression(self) -> str | None:
        found = self._after(self._firsts, self._empty, 0)
        return None if found is None else union([found])

    def _after(self, following: frozenset[int], may_end: bool, written: int) -> Sequence | None:
        """Return what may follow so many letters; None where nothing leads to an end."""
        ends = may_end and written >= self._low
        if written == self._high:
            return () if ends else None
        counted = written if self._high is not None else min(written, self._low)
        key = (following, may_end, counted)
        if key in self._rules:
            return self._rules[key]
        if len(self._rules) == _MOST_RULES:
            raise TooMany
        if self._high is None and counted == self._low:
            raise TooMany  # without a greatest length only patterns of one part that varies are held to a least one
        self._rules[key] = None
        grouped: dict[tuple[frozenset[int], bool], list[str]] = {}
        for one in sorted(following):
            letters = grouped.setdefault((frozenset(self._next[one]), one in self._lasts), [])
            if self._letters[one] not in letters:
                letters.append(self._letters[one])
        made = []
        for (then, last), letters in grouped.items():
            rest = self._after(then, last, written + 1)
            if rest is not None:
                made.append(f"( {' | '.join(letters)} ) {union([rest])}" if rest else f"( {' | '.join(letters)} )")
        if made:
            self._rules[key] = self._name(f"( {' | '.join(made)} )" + ("?" if ends else ""))
        elif ends:
            self._rules[key] = ()
        return self._rules[key]
