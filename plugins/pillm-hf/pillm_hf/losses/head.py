"""The output head and the cross-entropy in one: logits exist for a piece of the answer tokens at a time, gradients with them.

A plain backward pass keeps the logits of all tokens, and multiplies with the head's weights three times; here the gradient
of a piece is made while its logits are at hand, which takes two products and the memory of one piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from pillm_hf.losses.batches import IGNORED, Batch
from pillm_hf.losses.loss import inner_of, kept_logits

if TYPE_CHECKING:
    import torch

    from pillm_hf.losses.lessons import Lesson

PIECE_BYTES = 160 * 2**20
"""Bytes of float32 logits at a time: the weights are read once a piece, so that small ones are slow."""
_BLOCK = 2**22
"""Logits at a time where more than cross-entropy is learnt: what passes over them again finds them near the processor."""
_CLOSE = 2e-2
"""Logits of a plain head differ by rounding to 16 bit; of one that something follows by much more."""


class Room:
    """Room for the logits of a piece, in the format of the products and in float32; memory that is new each time is slow."""

    def __init__(self) -> None:
        self._half: Any = None
        self._full: Any = None

    def take(self, rows: int, weight: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return room for `count` rows of logits in both formats, of `rows` that are kept; where they are one, it is one."""
        import torch

        if self._full is None or len(self._full) < rows or self._full.device != weight.device:
            self._full = torch.empty((rows, len(weight)), device=weight.device)
            same = weight.dtype == torch.float32
            self._half = self._full if same else torch.empty((rows, len(weight)), dtype=weight.dtype, device=weight.device)
        full = self._full[:count]
        return (full if self._half is self._full else self._half[:count]), full


class Head:
    """A model's output layer while it is trained: the model gives hidden states, this gives the loss."""

    def __init__(self, layer: Any, dtype: torch.dtype, place: tuple[Any, str]) -> None:
        self.layer, self.dtype, self._room, self._place = layer, dtype, Room(), place

    def summed_loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return the loss summed over a batch's answer tokens, in nats: the labels' cross-entropy, or what its lesson says."""
        hidden, labels = kept_logits(model, batch), batch.labels.to(model.device)
        learnt, told = labels != IGNORED, (self.dtype, self._room, batch.lesson)
        return _function().apply(hidden[learnt], self.layer.weight, self.layer.bias, labels[learnt], *told)

    @contextmanager
    def back(self) -> Iterator[None]:
        """Put the layer back where it was while the context lasts: the model gives logits, as whoever asks it expects."""
        owner, attribute = self._place
        split = getattr(owner, attribute)
        setattr(owner, attribute, self.layer)
        try:
            yield
        finally:
            setattr(owner, attribute, split)


def scored(model: Any, head: Head | None, batch: Batch) -> tuple[float, int]:
    """Return the summed cross-entropy of a batch's answer tokens in nats, and how many of them the model ranks first."""
    import torch

    kept, labels = kept_logits(model, batch), batch.labels.to(model.device)
    learnt = labels != IGNORED
    rows, told, loss, right = kept[learnt], labels[learnt], 0.0, 0
    size = _rows_of_a_piece(len(head.layer.weight) if head else rows.shape[-1])
    for begin in range(0, len(rows), size):
        logits, wanted = rows[begin : begin + size], told[begin : begin + size]
        logits = (head.layer(logits) if head else logits).float()
        loss += float(torch.nn.functional.cross_entropy(logits, wanted, reduction="sum"))
        right += int((logits.argmax(-1) == wanted).sum())
    return loss, right


def _rows_of_a_piece(vocabulary: int) -> int:
    return max(1, PIECE_BYTES // (4 * vocabulary))


@contextmanager
def split_off(model: Any, dtype: torch.dtype, sample: Batch) -> Iterator[Head | None]:
    """Take the output layer off a model while the context lasts; None where more than a plain layer makes its logits.

    Whether that is so is tried on a sample: soft caps and adapters on the head show in its logits. A scale may be put on the
    hidden states as well, and is no hindrance where there is no bias.
    """
    import torch

    inner = inner_of(model)
    layer = inner.get_output_embeddings()
    if type(layer) is not torch.nn.Linear or dtype == torch.float16:  # float16 gradients need the scaler before they are made
        yield None
        return
    name = next(name for name, module in inner.named_modules() if module is layer)
    owner = inner.get_submodule(name.rpartition(".")[0])
    attribute = name.rpartition(".")[2]
    with torch.no_grad():
        expected = kept_logits(model, sample)
        setattr(owner, attribute, torch.nn.Identity())
        try:
            made = layer(kept_logits(model, sample))
            plain = made.shape == expected.shape and _alike(made, expected)
        except (RuntimeError, TypeError, AttributeError):  # what follows the head wants logits
            plain = False
    try:
        if not plain:
            setattr(owner, attribute, layer)
        yield Head(layer, dtype, (owner, attribute)) if plain else None
    finally:
        setattr(owner, attribute, layer)


def logits_bytes(model: Any, batch: Batch, dtype: torch.dtype, *, splits: bool = True) -> int:
    """Return what a batch's logits and their gradients take at most, as far as a model's configuration tells.

    `split_off` tries what this reads: soft caps and adapters on the head; with `splits` false it is not asked.
    """
    import torch

    inner = inner_of(model)
    config, vocabulary = inner.config.get_text_config(), inner.get_input_embeddings().num_embeddings
    capped = getattr(config, "final_logit_softcapping", None) is not None
    linear = type(inner.get_output_embeddings()) is torch.nn.Linear
    if splits and linear and dtype != torch.float16 and not capped:
        return 2 * min(batch.labels.numel() * vocabulary * 4, PIECE_BYTES)
    size = dtype.itemsize
    whole = batch.labels.numel() * size * (1 + capped)  # the cap's own result is kept for its gradient
    return vocabulary * (whole + batch.answer_tokens * (12 - size))  # those learnt, float32 of them, and log-probabilities


def _alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    spread = float(other.float().std()) or 1.0
    return float((one.float() - other.float()).abs().max()) <= _CLOSE * spread


@cache
def _function() -> Any:
    import torch

    class CrossEntropy(torch.autograd.Function):
        """Summed cross-entropy of hidden states [n, d] under a head [vocabulary, d] and labels [n]."""

        @staticmethod
        def forward(ctx: Any, hidden: Any, weight: Any, bias: Any, labels: Any, dtype: Any, room: Any, lesson: Any) -> Any:
            wanted = ctx.needs_input_grad[:3]
            with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
                loss, grads = _pieces(hidden.to(dtype), weight.to(dtype), bias, (labels, lesson), wanted, room)
            kinds = (hidden.dtype, weight.dtype, None if bias is None else bias.dtype)
            ctx.grads = [None if grad is None else grad.to(kind) for grad, kind in zip(grads, kinds, strict=True)]
            return loss

        @staticmethod
        def backward(ctx: Any, scale: Any) -> Any:  # type: ignore[override]
            grads, ctx.grads = ctx.grads, None
            return (*(None if grad is None else grad.mul_(scale) for grad in grads), None, None, None, None)

    return CrossEntropy


def _pieces(hidden: Any, weight: Any, bias: Any, told: Any, wanted: Any, room: Room) -> tuple[Any, list[Any]]:
    """Return the loss, and the gradients of hidden states, weights and bias where they are wanted."""
    import torch

    labels, lesson = told
    rows = _rows_of_a_piece(len(weight))
    loss = torch.zeros((), device=hidden.device)
    of_hidden = torch.empty_like(hidden) if wanted[0] else None
    of_weight = torch.zeros(weight.shape, device=weight.device) if wanted[1] else None
    of_bias = torch.zeros(len(weight), device=weight.device) if wanted[2] else None
    for begin in range(0, len(hidden), rows):
        piece, asked = hidden[begin : begin + rows], labels[begin : begin + rows]
        half, logits = room.take(min(rows, len(hidden)), weight, len(piece))
        torch.mm(piece, weight.T, out=half)
        if lesson is None:
            loss += _cross_entropy(half, logits, bias, asked, any(wanted))
        else:
            loss += _lesson(half, logits, bias, asked, any(wanted), lesson, begin)
        if not any(wanted):
            continue
        if of_hidden is not None:
            torch.mm(half, weight, out=of_hidden[begin : begin + rows])
        if of_weight is not None:
            of_weight += (half.T @ piece).float()
        if of_bias is not None:
            of_bias += logits.sum(0)
    return loss, [of_hidden, of_weight, of_bias]


def _cross_entropy(half: Any, logits: Any, bias: Any, labels: Any, wanted: bool) -> Any:
    """Return the loss of a piece; its gradient stands in the place of the logits, in both formats."""
    import torch

    told = labels[:, None]
    logits = logits.copy_(half) if half is not logits else logits
    if bias is not None:
        logits += bias
    torch.ops.aten._log_softmax.out(logits, -1, False, out=logits)  # in place: a row is read before it is written
    loss = -logits.gather(1, told).sum()
    if wanted:
        grad = logits.exp_()
        grad.scatter_add_(1, told, torch.full_like(told, -1, dtype=grad.dtype))
        if half is not grad:
            half.copy_(grad)
    return loss


def _lesson(half: Any, logits: Any, bias: Any, labels: Any, wanted: bool, lesson: Lesson, begin: int) -> Any:
    """Return what a lesson says of a piece, block by block; the gradient stands where that of `_cross_entropy` does."""
    lesson.open(begin, len(half))
    loss, rows = logits.new_zeros(()), max(1, _BLOCK // logits.shape[-1])
    for place in range(0, len(half), rows):
        block, rounded = logits[place : place + rows], half[place : place + rows]
        if half is not logits:
            block.copy_(rounded)
        if bias is not None:
            block += bias
        loss += lesson.learn(block, labels[place : place + rows], begin + place, wanted)
        if wanted and half is not logits:
            rounded.copy_(block)
    return loss
