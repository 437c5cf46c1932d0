"""How batches come by their lessons: from targets on disk, from a teacher in memory, or on the student's own words."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pillm_hf.distilling.ownwords import Answering, OwnWords
from pillm_hf.distilling.scoring import Scorer, Sizes
from pillm_hf.distilling.targetcache import TargetCache
from pillm_hf.distilling.targets import Targets
from pillm_hf.losses.divergences import Divergence
from pillm_hf.losses.lessons import Draws, Lesson, Outcomes, Ranks, Whole
from pillm_hf.rows.text import Encoded

if TYPE_CHECKING:
    import torch

    from pillm_hf.options.distillation import Distillation


class Teaching(ABC):
    """Gives the batches of an optimiser step what is learnt beside their labels."""

    def __init__(self, options: Distillation, device: torch.device) -> None:
        self.options, self._device = options, device
        self._how = Divergence(kind=options.divergence, temperature=options.temperature, beta=options.beta)

    def rows(self, group: list[list[Encoded]], step: int, answering: Answering) -> list[list[Encoded]]:
        """Return what the step after so many is taken on: its rows, unless something else is learnt in their place."""
        return group

    @abstractmethod
    def lesson(self, rows: Sequence[Encoded]) -> Lesson:
        """Return the lesson of some rows' learnt places, row by row."""


class FromTargets(Teaching):
    """Teaches what lies in a cache of targets."""

    def __init__(self, options: Distillation, device: torch.device, cache: TargetCache) -> None:
        super().__init__(options, device)
        self._cache = cache

    def lesson(self, rows: Sequence[Encoded]) -> Lesson:
        """Return what the cache holds of the rows; a place that it knows nothing of is learnt from its label."""
        import torch

        layout = self._cache.layout
        known: list[Targets] = []
        places: list[int] = []
        at = 0
        for row in rows:
            learnt = row.ids[row.start : row.end]
            found = self._cache.get(row.id, learnt)
            if found is not None:
                known.append(found)
                places += range(at, at + len(found))
            at += len(learnt)
        weights = torch.zeros(at)
        weights[places] = self.options.weight
        put = self._put(at, places)
        if layout.draws or not layout.k:
            width = max((found.drawn.shape[1] for found in known), default=0)
            shares = [_filled(*found.shares(), layout.k + width) for found in known]
            ids, each = (torch.cat(side) if shares else torch.zeros((0, 1)) for side in zip(*shares, strict=True))
            return Draws(self._there(weights), put(ids.long()), put(each))
        ids = put(torch.cat([found.ids for found in known]) if known else torch.zeros((0, layout.k), dtype=torch.int64))
        logprobs = put(torch.cat([found.logprobs for found in known]) if known else torch.zeros((0, layout.k + 1)))
        if self.options.cross_tokenizer:
            weights[logprobs[:, -1].cpu() > UNKNOWN] = 0.0
            return Ranks(self._there(weights), logprobs)
        return Outcomes(self._there(weights), ids, logprobs, self._how)

    def _there(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self._device)

    def _put(self, count: int, places: list[int]) -> Any:
        import torch

        def put(known: torch.Tensor) -> torch.Tensor:
            """Return what is known at its places among `count`, and zeros elsewhere: there its weight is 0."""
            if len(known) == count:
                return self._there(known)
            whole = torch.zeros((count, known.shape[1]), dtype=known.dtype)
            whole[places] = known
            return self._there(whole)

        return put


UNKNOWN = -1e-6
"""A log-probability of the rest above this says that nothing is known of a place: no teacher is as empty as that."""


def _filled(ids: torch.Tensor, shares: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    more = (0, width - ids.shape[1])
    return torch.nn.functional.pad(ids, more), torch.nn.functional.pad(shares, more)


class FromModel(Teaching):
    """Teaches the whole distributions of a teacher in memory."""

    def __init__(self, options: Distillation, device: torch.device, known: tuple[Scorer, Sizes]) -> None:
        super().__init__(options, device)
        self._scorer, self._sizes = known

    def lesson(self, rows: Sequence[Encoded]) -> Lesson:
        """Return what the teacher says at every learnt place."""
        return self._whole(rows, self.options.weight)

    def _whole(self, rows: Sequence[Encoded], weight: float, *, own_words: bool = False) -> Lesson:
        import torch

        count = sum(row.end - row.start for row in rows)
        make = self._scorer.score([self._scorer.seen(row) for row in rows])
        weights = torch.full((count,), weight, device=self._device)
        return Whole(weights, make, (self._sizes.columns, self._sizes.tokens), self._how, own_words=own_words)


class OnPolicy(FromModel):
    """Lets the student answer the prompts of some steps itself, and teaches what the teacher says of those answers.

    Whether a step is such a one, and what is drawn in it, depends on the seed and the step's number alone.
    """

    def __init__(self, options: Distillation, device: torch.device, known: tuple[Scorer, Sizes], words: OwnWords) -> None:
        super().__init__(options, device, known)
        self._words, self._own = words, False

    def rows(self, group: list[list[Encoded]], step: int, answering: Answering) -> list[list[Encoded]]:
        """Return a step's rows, or the student's own answers to their prompts."""
        chance = random.Random(f"{self._words.seed}:{step}").random()  # noqa: S311 - a choice, not a secret
        self._own = chance < self.options.on_policy_share
        return self._words.answers(group, answering, step) if self._own else group

    def lesson(self, rows: Sequence[Encoded]) -> Lesson:
        """Return what the teacher says at every learnt place; of the student's own answers that is all there is to learn."""
        return self._whole(rows, 1.0, own_words=True) if self._own else super().lesson(rows)
