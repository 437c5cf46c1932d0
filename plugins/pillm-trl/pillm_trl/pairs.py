"""Rows as pairs of token ids: one prompt, and two answers that both end their turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from pillm_hf import Chat, Encoded, encode

import pillm

ALONE = "no rejected answer"
SAME = "the chosen and the rejected answer are the same"
APART = "the template writes the prompt differently before the two answers"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two conversations that differ in their last answer, the chosen one better than the rejected one."""

    chosen: Encoded
    rejected: Encoded

    @property
    def prompt_ids(self) -> list[int]:
        """Return the ids that both conversations begin with."""
        return self.chosen.ids[: self.chosen.start]

    @property
    def chosen_ids(self) -> list[int]:
        """Return the ids of the better answer, its end of turn last."""
        return self.chosen.ids[self.chosen.start : self.chosen.end]

    @property
    def rejected_ids(self) -> list[int]:
        """Return the ids of the worse answer, its end of turn last."""
        return self.rejected.ids[self.rejected.start : self.rejected.end]

    @property
    def tokens(self) -> int:
        """Return how many tokens are read in a pass."""
        return 2 * len(self.prompt_ids) + self.answer_tokens

    @property
    def answer_tokens(self) -> int:
        """Return how many tokens have a part in the loss."""
        return len(self.chosen_ids) + len(self.rejected_ids)


@dataclass(slots=True)
class Pairs:
    """The pairs of one split, and how many rows were left out, by reason."""

    rows: list[Pair] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def conversations(self) -> Iterator[Encoded]:
        """Yield every conversation that is read."""
        for pair in self.rows:
            yield pair.chosen
            yield pair.rejected


def encode_pairs(examples: Iterable[pillm.Example], contract: pillm.Contract, chat: Chat, max_length: int) -> Pairs:
    """Encode examples that have a rejected answer too; a row that cannot be learnt from is left out and counted.

    Raises DataError where the template refuses a row's messages.
    """
    found = Pairs()
    better: list[pillm.Example] = []
    worse: list[pillm.Example] = []
    for example in examples:
        rejected = example.rejected
        if rejected is None:
            found.left_out[ALONE] += 1
        elif example.answer.message == rejected.message:
            found.left_out[SAME] += 1
        else:
            better.append(example)
            worse.append(replace(example, answer=rejected))
    chosen = _encoded(better, contract, chat, max_length, found.left_out, "")
    rejected_of = _encoded(
        [worse[number] for number in chosen], contract, chat, max_length, found.left_out, "rejected answer: "
    )
    for place, row in enumerate(chosen.values()):
        if place in rejected_of:
            _join(Pair(row, rejected_of[place]), found)
    return found


def _encoded(
    examples: list[pillm.Example], contract: pillm.Contract, chat: Chat, max_length: int, left_out: Counter[str], what: str
) -> dict[int, Encoded]:
    """Return the rows that can be encoded by their place in the list, and count the others."""
    numbered = (replace(row, prompt=replace(row.prompt, id=str(number))) for number, row in enumerate(examples))
    encoding = encode(numbered, contract, chat, max_length)
    for reason, count in encoding.left_out.items():
        left_out[what + reason] += count
    return {int(row.id): replace(row, id=examples[int(row.id)].prompt.id) for row in encoding.rows}


def _join(pair: Pair, found: Pairs) -> None:
    if pair.prompt_ids != pair.rejected.ids[: pair.rejected.start]:
        found.left_out[APART] += 1
    elif pair.chosen_ids == pair.rejected_ids:  # they differ in what the template does not write
        found.left_out[SAME] += 1
    else:
        found.rows.append(pair)
