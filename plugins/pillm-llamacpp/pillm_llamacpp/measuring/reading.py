"""Many conversations read by a model, several in each decode; inside a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pillm_llamacpp.inference.engine import Context
from pillm_llamacpp.workers.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pillm_llamacpp.inference.engine import Log, Model

_SEQUENCES = 64
_LOGIT_BYTES = 64 * 1024 * 1024
_BATCH = 512


@dataclass(frozen=True, slots=True)
class Conversation:
    """The tokens of one conversation, and at which of them its next-token distribution is wanted."""

    ids: np.ndarray[Any, np.dtype[np.int32]]
    wanted: np.ndarray[Any, np.dtype[np.bool_]]


def tokenised(model: Model, texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of texts in which special tokens are written out; raise Refusal where all are empty."""
    try:
        ids = [model.tokenize(text) for text in texts]
    except UnicodeEncodeError as error:
        raise Refusal("data", f"a text is not Unicode: {error}") from error
    if not any(ids):
        raise Refusal("data", "the texts have no tokens")
    return ids


def read_whole(model: Model, texts: Sequence[str], context: int) -> list[Conversation]:
    """Return texts in pieces of at most `context` tokens, of which every position is wanted.

    What watches the products needs them all: the last layer leaves out those whose logits nobody asked for.
    """
    pieces = [
        np.array(ids[begin : begin + context], np.int32)
        for ids in tokenised(model, texts)
        for begin in range(0, len(ids), context)
    ]
    return [Conversation(piece, np.ones(len(piece), np.bool_)) for piece in pieces]


class Reader:
    """A context that conversations share: each sees only itself, from position 0."""

    def __init__(self, model: Model, log: Log, *, threads: int, longest: int, watch: Any = None) -> None:
        """Make room for conversations of up to `longest` tokens."""
        # the logits of a large vocabulary would take more memory than the model
        self.outputs = max(_SEQUENCES, min(_BATCH, _LOGIT_BYTES // (4 * model.n_vocab)))
        self.cells = max(_BATCH, longest)
        self.context = Context(
            model, log, cells=self.cells, sequences=_SEQUENCES, threads=threads, batch=_BATCH, outputs=self.outputs,
            unified=True, watch=watch,
        )  # fmt: skip

    def read(self, conversations: Sequence[Conversation]) -> Iterator[tuple[int, np.ndarray[Any, np.dtype[np.float32]]]]:
        """Decode all; yield (tokens read, logits) where logits were wanted, in order. The logits live until the next."""
        for group in groups([len(one.ids) for one in conversations], cells=self.cells, sequences=_SEQUENCES):
            self.context.clear()
            yield from self._read_group([conversations[index] for index in group])

    def _read_group(self, conversations: Sequence[Conversation]) -> Iterator[tuple[int, np.ndarray[Any, np.dtype[np.float32]]]]:
        context = self.context
        ids = np.concatenate([one.ids for one in conversations])
        wanted = np.concatenate([one.wanted for one in conversations])
        lengths = [len(one.ids) for one in conversations]
        positions = np.concatenate([np.arange(length) for length in lengths])
        owners = np.repeat(np.arange(len(lengths)), lengths)
        for part in slices(wanted, tokens=context.batch, outputs=self.outputs):
            count = part.stop - part.start
            context.tokens[:count] = ids[part]
            context.positions[:count] = positions[part]
            context.owners[:count] = owners[part]
            context.outputs[:count] = wanted[part]
            context.decode(count)
            yield count, context.logits(int(wanted[part].sum())) if wanted[part].any() else np.empty((0, 0), np.float32)

    def close(self) -> None:
        """Free the context."""
        self.context.close()


def groups(lengths: Sequence[int], *, cells: int, sequences: int) -> Iterator[list[int]]:
    """Yield the numbers of conversations that are read together, in order: as many as the cells and sequences hold."""
    group: list[int] = []
    used = 0
    for index, length in enumerate(lengths):
        if group and (used + length > cells or len(group) == sequences):
            yield group
            group, used = [], 0
        group.append(index)
        used += length
    if group:
        yield group


def slices(wanted: np.ndarray[Any, np.dtype[np.bool_]], *, tokens: int, outputs: int) -> Iterator[slice]:
    """Yield parts of at most so many tokens, and so many wanted ones, that follow each other."""
    start = 0
    while start < len(wanted):
        counted = np.cumsum(wanted[start : start + tokens])
        stop = start + int(np.searchsorted(counted, outputs, side="right"))
        yield slice(start, stop)
        start = stop
