"""Numbers within bounds, as expressions of a grammar."""

from __future__ import annotations

MOST = 10**15 - 1
"""What no bound says is at most this: larger integers are not exact in every program that reads JSON."""
_FRACTION = '( "." [0-9]{1,6} )?'
_SOME = '"." [0-9]{0,5} [1-9]'
_NONE = '( "." "0"{1,6} )?'
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


def numbers(low: int, high: int, *, above: bool = False, below: bool = False) -> str | None:
    """Return the expression of the numbers from `low` to `high`, or between them where `above` or `below` is set.

    None where there is none. Both are within MOST of 0.
    """
    parts = []
    if low < 0:
        sizes = _sizes(max(0, -high), -low, open_low=below and high <= 0, open_high=above)
        parts += [f'"-" {_group(sizes)}'] if sizes else []
    if high >= 0:
        parts += _sizes(max(0, low), high, open_low=above and low >= 0, open_high=below)
    return " | ".join(parts) or None


def _sizes(low: int, high: int, *, open_low: bool, open_high: bool) -> list[str]:
    """Return the expressions of numbers without a sign."""
    if low > high or (low == high and (open_low or open_high)):
        return []
    first, parts = low + open_low, []
    if open_low:
        parts.append(f'"{low}" {_SOME}')
    if first < high:
        parts.append(f"{_group(_natural(first, high - 1))} {_FRACTION}")
    if not open_high and first <= high:
        parts.append(f'"{high}" {_NONE}')
    return parts


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
