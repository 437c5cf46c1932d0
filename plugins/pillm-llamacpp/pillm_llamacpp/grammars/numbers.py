"""Numbers within bounds, as expressions of a grammar."""

from __future__ import annotations

from decimal import Decimal
from typing import TypeAlias

MOST = 10**15 - 1
"""What no bound says is at most this: larger integers are not exact in every program that reads JSON."""
Bound: TypeAlias = int | Decimal
Edge: TypeAlias = tuple[str, bool] | None
_PLACES, _EXACT = 6, 15
"""Digits of a fraction, and digits up to which two numbers are never the same float."""
_FRACTION = '( "." [0-9]{1,6} )?'
_FROM_ZERO = ("", False)
ANY_INTEGER = '"-"? ( "0" | [1-9] [0-9]{0,14} )'
ANY_NUMBER = '"-"? ( "0" | [1-9] [0-9]{0,14} ) ( "." [0-9]{1,15} )? ( [eE] [-+]? [0-9]{1,2} )?'


def integers(low: int, high: int) -> str:
    """Return the expression of the integers from `low` to `high`, which is not below it; both within MOST of 0."""
    parts = []
    if low < 0:
        parts.append(f'"-" {_group(_natural(max(1, -high), -low))}')
    if high >= 0:
        parts += _natural(max(0, low), high)
    return " | ".join(parts)


def numbers(low: Bound, high: Bound, *, above: bool = False, below: bool = False) -> str | None:
    """Return the expression of the numbers from `low` to `high`, or between them where `above` or `below` is set.

    None where there is none. Both are within MOST of 0. What no float tells from a bound that is left out is left out too.
    """
    parts, zero = [], Decimal(0)
    first, last = Decimal(low), Decimal(high)
    if first < 0:
        sizes = _sizes(max(zero, -last), -first, open_low=below and last <= 0, open_high=above)
        parts += [f'"-" {_group(sizes)}'] if sizes else []
    if last >= 0:
        parts += _sizes(max(zero, first), last, open_low=above and first >= 0, open_high=below)
    return " | ".join(parts) or None


def _sizes(low: Decimal, high: Decimal, *, open_low: bool, open_high: bool) -> list[str]:
    """Return the expressions of numbers without a sign."""
    if low > high or (low == high and (open_low or open_high)):
        return []
    (first, after), (last, until) = (_split(one) for one in (low, high))
    beyond, upto = (after, open_low), (until, open_high)
    if first == last:
        return _with_fraction(first, beyond, upto)
    parts = [] if beyond == _FROM_ZERO else _with_fraction(first, beyond, None)
    least = first if beyond == _FROM_ZERO else first + 1
    if least < last:
        parts.append(f"{_group(_natural(least, last - 1))} {_FRACTION}")
    return parts + _with_fraction(last, None, upto)


def _split(size: Decimal) -> tuple[int, str]:
    """Return a number's whole part, and the digits of its fraction without the last zeros."""
    whole, _, fraction = f"{size:f}".partition(".")
    return int(whole), fraction.rstrip("0")


def _with_fraction(whole: int, low: Edge, high: Edge) -> list[str]:
    """Return the whole number with each fraction between two; empty where there is none."""
    edges = [edge for edge in (low, high) if edge]
    room = max(_PLACES, *(len(digits) for digits, _ in edges))
    if any(left_out for _, left_out in edges):
        room = min(room, _EXACT - len(str(whole)))
        if any(len(digits) > room for digits, _ in edges):
            return []
    bare, digits = _fractions(low, high, room)
    if digits:
        return [f'"{whole}" ( "." {digits} )?' if bare else f'"{whole}" "." {digits}']
    return [f'"{whole}"'] if bare else []


def _fractions(low: Edge, high: Edge, room: int) -> tuple[bool, str]:
    """Return whether no digit more is between two fractions, and the expression of the digits that are ("": none).

    An edge is the digits that are left of it, and whether it is left out itself.
    """
    low = None if low == _FROM_ZERO else low
    ends = low is None and high != ("", True)
    if not room:
        return ends, ""
    if low is None and high is None:
        return True, f"[0-9]{{1,{room}}}"
    if low is None and high == _FROM_ZERO:
        return True, f'"0"{{1,{room}}}'
    if low == ("", True) and high is None:
        return False, f"[0-9]{{0,{room - 1}}} [1-9]"
    grouped: dict[tuple[Edge, Edge], str] = {}
    for digit in "0123456789":
        least, most = ((edge[0][:1] if edge else "") or "0" for edge in (low, high))
        if (low is None or digit >= least) and (high is None or digit <= most):
            edges = (_rest(low, digit, least), _rest(high, digit, most))
            grouped[edges] = grouped.get(edges, "") + digit
    parts = []
    for (then, until), digits in grouped.items():
        bare, more = _fractions(then, until, room - 1)
        if bare or more:
            sign = f"[{digits[0]}-{digits[-1]}]" if len(digits) > 1 else f'"{digits}"'
            parts.append(f"{sign} ( {more} )?" if bare and more else f"{sign} {more}".rstrip())
    return ends, _group(parts) if parts else ""


def _rest(edge: Edge, digit: str, there: str) -> Edge:
    return (edge[0][1:], edge[1]) if edge and digit == there else None


def _natural(low: int, high: int) -> list[str]:
    """Return the expressions of the natural numbers from `low` to `high`, by how many digits they have."""
    found = []
    for length in range(len(str(low)), len(str(high)) + 1):
        least, most = max(low, 10 ** (length - 1) if length > 1 else 0), min(high, 10**length - 1)
        found += _digits(str(least), str(most))
    return found


def _digits(low: str, high: str) -> list[str]:
    """Return the expressions of the texts of digits between two of one length."""
    rest = len(low) - 1
    if not rest:
        return [f"[{low}-{high}]" if low != high else f'"{low}"']
    if low[0] == high[0]:
        return [f'"{low[0]}" {_group(_digits(low[1:], high[1:]))}']
    first, last, parts, end = int(low[0]), int(high[0]), [], []
    if int(low[1:]):
        parts.append(f'"{first}" {_group(_digits(low[1:], "9" * rest))}')
        first += 1
    if high[1:] != "9" * rest:
        end.append(f'"{last}" {_group(_digits("0" * rest, high[1:]))}')
        last -= 1
    if first <= last:
        parts.append(f"[{first}-{last}] [0-9]{{{rest}}}")
    return parts + end


def _group(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 and "|" not in parts[0] else f"( {' | '.join(parts)} )"
