"""Which conversations of a checkpoint an importance matrix is computed from, and which ones files are compared on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pillm

_HELD_OUT = 4
_WORK = 4e12
"""Weights times tokens that a model is asked to multiply in one reading: about two minutes of two cores."""
_FEWEST, _MOST = 2048, 32768
_CHARACTERS = 3
"""Of a token, at the least."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Conversations in the student's own template; none of them of the test split."""

    calibration: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    answers: tuple[tuple[int, int] | None, ...] = ()
    """Where the answer is in each validation conversation, in tokens."""
    seen: bool = False
    """Whether the validation conversations were trained on, for want of others."""


def texts_of(checkpoint: pillm.Checkpoint) -> Texts:
    """Return what a checkpoint's trainer rendered: the training side to calibrate on, the validation side to compare on.

    Without validation rows every fourth calibration text is kept for the comparison. Raises DataError for a damaged file.
    """
    rows = [row for row in checkpoint.rendered() if row.text]
    calibration = [row for row in rows if row.split != "validation"]
    validation = [row for row in rows if row.split == "validation"]
    seen = False
    if not validation:
        validation = calibration[::_HELD_OUT]
        seen = any(row.split == "train" for row in validation)
        calibration = [row for index, row in enumerate(calibration) if index % _HELD_OUT]
    return Texts(
        tuple(row.text for row in calibration), tuple(row.text for row in validation),
        tuple(row.answer for row in validation), seen,
    )  # fmt: skip


def affordable(texts: Texts, model_bytes: int) -> Texts:
    """Return as many of the texts as a 16-bit file of that size reads in about two minutes, taken evenly from all."""
    budget = min(_MOST, max(_FEWEST, int(_WORK / (model_bytes / 2)))) * _CHARACTERS
    calibration = _spread([len(text) for text in texts.calibration], budget)
    # it is read once with each file, and with each file again where an importance matrix is tried
    validation = _spread([len(text) for text in texts.validation], budget // 4)
    return Texts(
        tuple(texts.calibration[index] for index in calibration), tuple(texts.validation[index] for index in validation),
        tuple(texts.answers[index] for index in validation), texts.seen,
    )  # fmt: skip


def _spread(lengths: Sequence[int], budget: int) -> list[int]:
    """Return the numbers of texts, evenly spread, whose lengths sum to about the budget; at least one where there is one."""
    total = sum(lengths)
    if total <= budget:
        return list(range(len(lengths)))
    step = total / budget
    return sorted({int(number * step) for number in range(max(1, int(len(lengths) / step)))})
