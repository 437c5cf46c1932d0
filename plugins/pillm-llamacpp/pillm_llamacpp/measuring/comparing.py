"""Keep what a model predicts on conversations, and compare other files with it; inside a worker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pillm_llamacpp.inference.engine import Model, start
from pillm_llamacpp.measuring.distributions import Stored, Writer, kept_tokens, normalise
from pillm_llamacpp.measuring.reading import Conversation, Reader, tokenised
from pillm_llamacpp.workers.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pillm_llamacpp.workers.pipe import Packet

FACTS = "reference.json"


def make_reference(message: Packet, send: Callable[..., None]) -> None:
    """Write what a model predicts on texts into `folder`; send how many tokens were read."""
    log, folder = start(), Path(message["folder"])
    model = Model(message["model"], log)
    context = min(message["context"], model.context or message["context"])
    ids = [row[:context] for row in tokenised(model, message["texts"])]
    spans = [_wanted(len(row), span) for row, span in zip(ids, message["answers"], strict=True)]
    if not any(end > start for start, end in spans):  # the answers lie beyond the context: what is before them counts
        spans = [_wanted(len(row), None) for row in ids]
    positions = sum(end - start for start, end in spans)
    if not positions:
        raise Refusal("data", "no text has two tokens, so none is predicted from another")
    facts: Packet = {
        "ids": ids, "spans": spans, "vocabulary": model.n_vocab, "kept": kept_tokens(positions, model.n_vocab),
        "positions": positions, "longest": max(map(len, ids)),
    }  # fmt: skip
    send(total=sum(map(len, ids)))
    reader = Reader(model, log, threads=message["threads"], longest=facts["longest"])
    try:
        (folder / FACTS).write_text(json.dumps(facts), "utf-8")
        with Writer(folder, facts["kept"], model.n_vocab) as writer:
            for count, logits in reader.read(_conversations(facts)):
                if len(logits):
                    writer.add(_finite(normalise(logits), message["model"]))
                send(read=count)
    except OSError as error:
        raise Refusal("storage", f"{folder} could not be written: {error.strerror or error}") from error
    finally:
        reader.close()
        model.close()
    send(done=True)


def diverge(message: Packet, send: Callable[..., None]) -> None:
    """Compare a model with what `folder` holds; send each position's divergence, and whether the choice is the same."""
    log, folder = start(), Path(message["folder"])
    facts = json.loads((folder / FACTS).read_text("utf-8"))
    model = Model(message["model"], log)
    if model.n_vocab != facts["vocabulary"]:
        raise Refusal("data", f"it has {model.n_vocab} tokens, the file it is compared with {facts['vocabulary']}")
    stored = Stored(folder, facts["kept"], facts["vocabulary"])
    send(total=sum(map(len, facts["ids"])))
    reader = Reader(model, log, threads=message["threads"], longest=facts["longest"])
    divergences, same, done = [], [], 0
    try:
        for count, logits in reader.read(_conversations(facts)):
            if len(logits):
                found, equal = stored.against(done, _finite(normalise(logits), message["model"]))
                divergences += found.tolist()
                same += equal.tolist()
                done += len(logits)
            send(read=count)
    finally:
        reader.close()
        model.close()
    send(done=True, divergences=divergences, same=same, lengths=[end - start for start, end in facts["spans"]])


def _finite(logs: np.ndarray[Any, np.dtype[np.float32]], model: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    # a row that is finite nowhere sums to one that is not finite
    if not np.isfinite(logs.max(axis=1)).all():
        raise Refusal("data", f"{Path(model).name} predicts no finite probabilities")
    return logs


def _wanted(length: int, answer: Sequence[int] | None) -> tuple[int, int]:
    """Return the positions that predict the answer's tokens, or every token where the answer is not known."""
    begin, end = answer or (1, length)
    begin = max(begin, 1)
    return begin - 1, max(begin, min(end, length)) - 1


def _conversations(facts: Packet) -> list[Conversation]:
    made = []
    for ids, (begin, end) in zip(facts["ids"], facts["spans"], strict=True):
        wanted = np.zeros(len(ids), np.bool_)
        wanted[begin:end] = True
        # what follows the last wanted prediction changes nothing
        made.append(Conversation(np.array(ids[:end], np.int32), wanted[:end]))
    return made
