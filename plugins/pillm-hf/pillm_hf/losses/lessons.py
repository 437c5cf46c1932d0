"""What a batch is learnt from where it is not its labels alone: a loss and, in the logits' own place, its gradient.

At each position the loss is w times a divergence from the teacher and 1 - w times the cross-entropy of the label; where nothing
is known of the teacher w is 0. Divergences over a few outcomes and the rest change the softmax's gradient by a factor for the
rest and by terms at those few places, so that no tensor of the logits' size is made.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from pillm_hf.losses.divergences import Divergence, align_vocabulary, value_and_slope

if TYPE_CHECKING:
    import torch

_MARGIN = 16  # nats above the smallest normal number: what is divided by a rest must not overflow


class Lesson(ABC):
    """A batch's targets at its n learnt positions, in their order; `weights` [n] are 0 where there is no target."""

    def __init__(self, weights: torch.Tensor, *, own_words: bool = False) -> None:
        self._weights, self._own_words = weights, own_words
        self._divergence: Any = 0.0
        self._cross_entropy: Any = 0.0

    def open(self, begin: int, count: int) -> None:  # noqa: B027 - most need nothing
        """Make ready for so many positions, of which each is learnt next."""

    def learn(self, logits: torch.Tensor, labels: torch.Tensor, begin: int, wanted: bool) -> torch.Tensor:
        """Return the summed loss of the positions from `begin` on, in nats.

        Logits are [m, vocabulary] in float32, labels [m]. In the place of the logits stands their gradient afterwards, where
        it is `wanted`, else nothing of use.
        """
        import torch

        place, told = slice(begin, begin + len(logits)), labels[:, None]
        weights = self._weights[place, None]
        torch.ops.aten._log_softmax.out(logits, -1, False, out=logits)  # in place: a row is read before it is written
        of_labels = -logits.gather(1, told)
        values = self._turn(logits, place, weights, wanted)
        if wanted:
            logits.scatter_add_(1, told, weights - 1)
        divergence, cross_entropy = (weights[:, 0] * values).sum(), of_labels.sum()
        self._divergence = self._divergence + (values * (weights[:, 0] > 0)).sum()
        self._cross_entropy = self._cross_entropy + cross_entropy
        return divergence + ((1 - weights) * of_labels).sum()

    @abstractmethod
    def _turn(self, logprobs: Any, place: slice, weights: Any, wanted: bool) -> Any:
        """Return the divergences [m]; put the gradient of w divergence - (1 - w) of the normaliser where the input stands."""

    def told(self) -> dict[str, tuple[float, int]]:
        """Return the parts of the loss that was learnt since the last call: each one's sum, and over how many positions."""
        count = int((self._weights > 0).sum())
        if self._own_words:  # nobody wants the student to repeat itself
            parts = {"on_policy_divergence": (float(self._divergence), count)}
        else:
            parts = {
                "divergence": (float(self._divergence), count),
                "cross_entropy": (float(self._cross_entropy), len(self._weights)),
            }
        self._divergence = self._cross_entropy = 0.0
        return parts


class Outcomes(Lesson):
    """Learns the log-probabilities [n, k + 1] of k ids [n, k] and of the rest, by any divergence.

    At temperature 1 it never exceeds that of the whole distributions (data processing inequality); other temperatures soften
    the k + 1 outcomes, since nobody knows what the rest consists of.
    """

    def __init__(self, weights: torch.Tensor, ids: torch.Tensor, logprobs: torch.Tensor, how: Divergence) -> None:
        super().__init__(weights)
        self._ids, self._logprobs, self._how = ids, logprobs, how

    def _turn(self, logprobs: Any, place: slice, weights: Any, wanted: bool) -> Any:
        def measure(mine: Any) -> tuple[Any, Any]:
            return value_and_slope(mine, self._logprobs[place], self._how)

        return turn_known(logprobs, self._ids[place], measure, weights, wanted)


class Ranks(Lesson):
    """Learns the best log-probabilities and the rest [n, k + 1] of a teacher with another vocabulary, best first: see `uld`.

    The loss is the sum of the differences of the sorted probabilities, in 0..2; nothing is sorted beyond k.
    """

    def __init__(self, weights: torch.Tensor, logprobs: torch.Tensor) -> None:
        super().__init__(weights)
        self._chances = logprobs.exp()

    def _turn(self, logprobs: Any, place: slice, weights: Any, wanted: bool) -> Any:
        theirs = self._chances[place]

        def measure(mine: Any) -> tuple[Any, Any]:
            chances = mine.exp()
            apart = chances - theirs
            return apart.abs().sum(-1), apart.sign() * chances

        return turn_known(logprobs, logprobs.topk(theirs.shape[-1] - 1).indices, measure, weights, wanted)


class Draws(Lesson):
    """Learns shares [n, c] of ids [n, c] whose expectations are the teacher's probabilities (see `draw`).

    The loss is the cross-entropy to the shares. Its gradient is without bias forward KL's, its value exceeds that by the
    teacher's entropy (Anshumann et al. 2025, arXiv:2503.16870). Unused places have the share 0.
    """

    def __init__(self, weights: torch.Tensor, ids: torch.Tensor, shares: torch.Tensor) -> None:
        super().__init__(weights)
        self._ids, self._shares = ids, shares

    def _turn(self, logprobs: Any, place: slice, weights: Any, wanted: bool) -> Any:
        ids, shares = self._ids[place], self._shares[place]
        values = -(shares * logprobs.gather(1, ids)).sum(-1)
        if wanted:
            logprobs.exp_().mul_(weights * shares.sum(-1, keepdim=True) + 1 - weights)
            logprobs.scatter_add_(1, ids, -weights * shares)
        return values


class Whole(Lesson):
    """Learns whole distributions of a teacher in memory, whose logits exist for a piece of the positions at a time."""

    def __init__(
        self, weights: torch.Tensor, make: Callable[[int, int], torch.Tensor], sizes: tuple[int, int], how: Divergence,
        *, own_words: bool = False,
    ) -> None:  # fmt: skip
        """Take what makes the teacher's logits [count, any] from `begin` on, and the student's vocabulary and tokens."""
        super().__init__(weights, own_words=own_words)
        self._make, self._sizes, self._how = make, sizes, how
        self._begin, self._logits = 0, cast("torch.Tensor", None)  # `open` comes before `learn`

    def open(self, begin: int, count: int) -> None:
        """Make the teacher's logits of so many positions."""
        self._begin, self._logits = begin, align_vocabulary(self._make(begin, count), *self._sizes)

    def _turn(self, logprobs: Any, place: slice, weights: Any, wanted: bool) -> Any:
        theirs = self._logits[place.start - self._begin : place.stop - self._begin]
        values, slope = value_and_slope(logprobs, theirs, self._how)
        if wanted:
            logprobs.exp_().mul_(1 - weights).add_(slope.mul_(weights))
        return values


def turn_known(
    logprobs: torch.Tensor,
    ids: torch.Tensor,
    measure: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    weights: torch.Tensor,
    wanted: bool,
) -> torch.Tensor:
    """Return what `measure` says of the log-probabilities [m, k + 1] of k ids and of all others together.

    It gives values [m] and slopes [m, k + 1]. With weights [m, 1] the gradient of `weights * values`, and of `1 - weights`
    times the normaliser, stands in the place of the log-probabilities [m, vocabulary] afterwards.
    """
    import torch

    kept = logprobs.gather(1, ids)
    chances = logprobs.exp_().scatter_(1, ids, 0.0)
    rest = chances.sum(-1, keepdim=True).clamp_min_(torch.finfo(chances.dtype).tiny)
    values, slope = measure(torch.cat([kept, rest.log()], -1))
    if wanted:
        slope *= weights
        faint = rest.log() < math.log(torch.finfo(rest.dtype).tiny) + _MARGIN
        of_rest = slope[:, -1:].masked_fill(faint, 0.0)
        total = slope[:, :-1].sum(-1, keepdim=True) + of_rest + weights - 1
        chances.mul_(of_rest / rest - total)
        chances.scatter_(1, ids, slope[:, :-1] - kept.exp() * total)
    return values
