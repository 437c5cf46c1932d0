"""The names of llama.cpp's quantisations, and which of them can be made here."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

AUTO, OFF = "auto", "off"
"""What the option `imatrix` may say beside a file."""

FTYPES = {
    "F32": 0, "F16": 1, "BF16": 32, "Q8_0": 7, "Q6_K": 18, "Q5_K_M": 17, "Q5_K_S": 16, "Q5_1": 9, "Q5_0": 8,
    "Q4_K_M": 15, "Q4_K_S": 14, "Q4_1": 3, "Q4_0": 2, "IQ4_NL": 25, "IQ4_XS": 30, "Q3_K_L": 13, "Q3_K_M": 12,
    "Q3_K_S": 11, "IQ3_M": 27, "IQ3_S": 26, "Q2_K": 10, "TQ2_0": 37, "TQ1_0": 36, "Q2_0": 41, "Q1_0": 40,
    "MXFP4_MOE": 38,
}  # fmt: skip
"""Quantisation -> llama.cpp's file type number, from exact to small."""
WITH_IMATRIX = {
    "Q2_K_S": 21, "IQ3_XS": 22, "IQ3_XXS": 23, "IQ2_M": 29, "IQ2_S": 28, "IQ2_XS": 20, "IQ2_XXS": 19, "IQ1_M": 31, "IQ1_S": 24,
}  # fmt: skip
"""The same for those that need an importance matrix."""
ALL_FTYPES = FTYPES | WITH_IMATRIX
ALIASES = {"Q5_K": "Q5_K_M", "Q4_K": "Q4_K_M", "Q3_K": "Q3_K_M"}
NEED_IMATRIX = tuple(WITH_IMATRIX)
UNWEIGHTED = frozenset({"F32", "F16", "BF16", "Q8_0", "TQ2_0", "TQ1_0", "Q2_0", "Q1_0", "MXFP4_MOE"})
"""The quantisations that come out the same with an importance matrix and without."""

DIRECT = ("F32", "F16", "BF16", "Q8_0")
"""Storage types that pillm's own writer makes in its one pass; llama.cpp makes all others from a file of these."""


def canonical(name: str) -> str:
    """Return llama.cpp's spelling of a quantisation; raise ValueError in a sentence where there is none of that name."""
    upper = name.strip().upper().replace("-", "_")
    upper = ALIASES.get(upper, upper)
    if upper not in ALL_FTYPES:
        near = get_close_matches(upper, ALL_FTYPES, n=1, cutoff=0.6)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{name!r} is no quantisation of llama.cpp.{hint} Known: {', '.join(ALL_FTYPES)}")
    return upper


def needing_imatrix(quants: Iterable[str]) -> str | None:
    """Return why quantisations cannot be made without an importance matrix, in words; None where all can."""
    needing = [quant for quant in quants if quant in WITH_IMATRIX]
    if not needing:
        return None
    one = len(needing) == 1
    return (
        f"the type{'' if one else 's'} {', '.join(needing)} need{'s' if one else ''} an importance matrix; "
        "the smallest types that need none are IQ3_S and Q2_K"
    )


def base_of(quants: tuple[str, ...]) -> str:
    """Return the type to convert to once, from which all the quantisations lose nothing more than they must."""
    return "F32" if {"F32", "BF16"} & set(quants) else "F16"


def direct(quants: tuple[str, ...]) -> tuple[str, ...]:
    """Return those quantisations that the writer makes itself."""
    return tuple(quant for quant in quants if quant in DIRECT)
