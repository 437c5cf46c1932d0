"""A teacher in memory: what it would say at each learnt place of the student's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pillm
from pillm_hf.distilling.targets import Targets
from pillm_hf.losses.batches import IGNORED, collate
from pillm_hf.losses.divergences import align_vocabulary, draw, with_rest
from pillm_hf.losses.head import PIECE_BYTES, split_off
from pillm_hf.losses.loss import kept_logits
from pillm_hf.models.hub import locate
from pillm_hf.models.loading import load_adapted
from pillm_hf.options.distillation import OTHER_TOKENIZER
from pillm_hf.rows.chat import Chat
from pillm_hf.rows.opening import load_chat
from pillm_hf.rows.text import Encoded

if TYPE_CHECKING:
    import torch

Logits = Callable[[int, int], "torch.Tensor"]
"""Makes the logits [count, vocabulary] of so many places, from the first one of them on."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The columns of the student's output, and how many tokens its tokenizer has; columns after them are padding."""

    columns: int
    tokens: int


class Scorer(AbstractContextManager["Scorer"]):
    """A teacher's model, frozen, and its own way of reading a prompt; it is loaded once, and given up at the end."""

    def __init__(self, model: Any, chat: Chat, student: Chat, sample: Encoded) -> None:
        self._model, self.chat, self._stack = model.requires_grad_(False), chat, ExitStack()
        self._alike = chat.template == student.template and chat.tokenizer_hash == student.tokenizer_hash
        shown = collate([self.seen(sample)], chat.pad_id)
        self._head = self._stack.enter_context(split_off(model, model.dtype, shown))

    @property
    def columns(self) -> int:
        """Return the size of the teacher's output."""
        return int(self._model.config.get_text_config().vocab_size)

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def seen(self, row: Encoded) -> Encoded:
        """Return a student's row as the teacher reads it: the same answer, after the prompt in the teacher's own template."""
        if self._alike:
            return row
        answer = row.ids[row.start : row.end]
        asked = self.chat.encode([self.chat.prompt(row.messages[:-1], row.tools)])[0]
        return replace(row, ids=[*asked, *answer], start=len(asked), end=len(asked) + len(answer))

    def score(self, rows: Sequence[Encoded]) -> Logits:
        """Return what makes the teacher's logits at all learnt places of rows that it sees, row by row."""
        import torch

        batch = collate(rows, self.chat.pad_id)
        with torch.no_grad():
            hidden = kept_logits(self._model, batch)[batch.labels.to(self._model.device) != IGNORED]
        head = self._head

        def logits(begin: int, count: int) -> torch.Tensor:
            with torch.no_grad():
                known = hidden[begin : begin + count]
                return known if head is None else head.layer(known)

        return logits


def load_scorer(
    source: tuple[str, str | None],
    students: tuple[Chat, Encoded],
    placed: tuple[torch.dtype, str | None],
    sizes: Sizes | None = None,
) -> Scorer:
    """Return a teacher in the student's number format, where the student is; with `sizes` its ids must be the student's.

    Raises DataError where they are not.
    """
    import torch

    dtype, device_map = placed
    folder = locate(*source).fetch()
    chat = load_chat(folder)
    if sizes is not None and chat.tokenizer_hash != students[0].tokenizer_hash:
        raise pillm.DataError(f"{folder} has another tokenizer than the student {students[0].folder}. {OTHER_TOKENIZER}")
    model = load_adapted(folder, dtype, device_map=device_map)
    if sizes is not None:
        align_vocabulary(torch.zeros((0, model.config.get_text_config().vocab_size)), sizes.columns, sizes.tokens)
    return Scorer(model, chat, *students)


def pieces(logits: Logits, count: int, columns: int) -> Iterator[torch.Tensor]:
    """Yield the logits of `count` places, as many at a time as the output head makes in a training."""
    rows = max(1, PIECE_BYTES // (4 * columns))
    for begin in range(0, count, rows):
        yield logits(begin, min(rows, count - begin))


def targets_of(logits: Logits, count: int, sizes: Sizes, keep: tuple[int, int], generator: torch.Generator) -> Targets:
    """Return the k best outcomes and so many draws from the rest at each of `count` places; keep is (k, draws)."""
    import torch

    k, draws = keep
    made = []
    for piece in pieces(logits, count, sizes.columns):
        aligned = align_vocabulary(piece, sizes.columns, sizes.tokens).float()
        best = aligned.log_softmax(-1).topk(k)
        none = torch.zeros((len(piece), 0), dtype=torch.int64)
        drawn = draw(aligned.cpu(), draws, exact=best.indices.cpu(), generator=generator) if draws else (none, none)
        rest = with_rest(best.values) if k else torch.zeros((len(piece), 1))
        made.append(Targets(best.indices.cpu(), rest.cpu(), *drawn))
    return joined(made)


def joined(parts: Sequence[Targets]) -> Targets:
    """Return the targets of several places after each other, as wide as the widest of what was drawn."""
    import torch

    width = max((part.drawn.shape[1] for part in parts), default=0)

    def wide(some: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(some, (0, width - some.shape[1]))

    return Targets(
        torch.cat([part.ids for part in parts]),
        torch.cat([part.logprobs for part in parts]),
        torch.cat([wide(part.drawn) for part in parts]),
        torch.cat([wide(part.counts) for part in parts]),
    )
