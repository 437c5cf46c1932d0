"""Which conversations of a checkpoint an importance matrix is computed from, and which ones files are compared on."""

from __future__ import annotations

import math
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
"""Of a token, at the least; counted where nobody said how many tokens a text has."""
_CONTEXT = 2048
"""Tokens of a conversation that are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How many validation conversations files are compared on: what counts are answers, and each row is one witness."""

    answer_tokens: int = 2048
    """Wanted in all."""
    rows: int = 32
    """A large model is spared more than so many, if the answers' tokens want them."""
    fewest: int = 16
    most: int | None = None


NAMED = Budget()
"""For quantisations that somebody named: their divergence is told, and the importance matrix is judged by it."""
CHOICE = Budget(answer_tokens=8192, rows=100, fewest=32)
"""For a choice among many."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Conversations in the student's own template; none of them of the test split."""

    calibration: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    answers: tuple[tuple[int, int] | None, ...] = ()
    """Where the answer is in each validation conversation, in tokens."""
    seen: bool = False
    """Whether the validation conversations were trained on, for want of others."""

    @property
    def answer_tokens(self) -> int:
        """Return about how many tokens of the validation conversations are answers."""
        return sum(answer for answer, _ in self.lengths())

    def lengths(self) -> list[tuple[int, int]]:
        """Return of each validation conversation its tokens that are compared, and those that are read for them."""
        return [_length(text, answer) for text, answer in zip(self.validation, self.answers, strict=True)]


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


def readable(model_bytes: int) -> int:
    """Return how many tokens a 16-bit file of that size reads in about two minutes of two cores."""
    return min(_MOST, max(_FEWEST, int(_WORK / (model_bytes / 2))))


def affordable(texts: Texts, model_bytes: int, budget: Budget = NAMED) -> Texts:
    """Return as many of the texts as a 16-bit file of that size reads in good time, taken evenly from all.

    Validation rows are counted by the tokens of their answers; however large the file, the budget's fewest are read.
    """
    room = readable(model_bytes)
    tokens = sum(-(-len(text) // _CHARACTERS) for text in texts.calibration)
    share = min(1.0, room / tokens) if tokens else 1.0
    calibration = spread(len(texts.calibration), max(1, int(len(texts.calibration) * share)))
    # it is read once with each file, and with each file again where an importance matrix is tried
    validation = spread(len(texts.validation), compared(texts.lengths(), room, budget))
    return Texts(
        tuple(texts.calibration[index] for index in calibration), tuple(texts.validation[index] for index in validation),
        tuple(texts.answers[index] for index in validation), texts.seen,
    )  # fmt: skip


def compared(lengths: Sequence[tuple[int, int]], room: int, budget: Budget) -> int:
    """Return how many of some conversations are compared, where `room` tokens are read in good time; see `Texts.lengths`."""
    if not lengths:
        return 0
    answer, read = (max(1.0, sum(column) / len(lengths)) for column in zip(*lengths, strict=True))
    wanted = math.ceil(budget.answer_tokens / answer)
    count: int = max(budget.fewest, min(wanted, max(int(room / read), budget.rows)))
    return int(min(count, len(lengths), budget.most or count))


def spread(rows: int, count: int) -> list[int]:
    """Return so many numbers of rows, evenly spread over all."""
    return sorted({number * rows // count for number in range(count)}) if 0 < count < rows else list(range(rows))


def _length(text: str, answer: tuple[int, int] | None) -> tuple[int, int]:
    if answer is None:
        tokens = min(_CONTEXT, -(-len(text) // _CHARACTERS))
        return tokens, tokens
    return max(1, min(answer[1], _CONTEXT) - answer[0]), max(1, min(answer[1], _CONTEXT))
