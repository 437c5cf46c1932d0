"""The trial of every quantised file before it gets its name: it loads, and answers one row in bounded time."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pillm
from pillm_llamacpp.gates import embeddings, logits
from pillm_llamacpp.workers.client import Worker, WorkerDied

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pillm_llamacpp.gates.parity import Row
    from pillm_llamacpp.gates.proving import Proof

SECONDS = 600.0
ROWS = 2
"""How many rows it is compared with the checkpoint on: what is recorded, not judged."""
ANSWER = 8
"""After how many tokens the answer is cut."""


def attempt(path: Path, proof: Proof, *, threads: int) -> pillm.Agreement | None:
    """Return how near a file is to its checkpoint, None where that was not asked.

    Raises BackendError where it does not load, compute or answer in time.
    It is tried with what the file in full precision was proved with.
    """
    rows, made = proof.rows, proof.made
    what = f"the trial of {path.name.removesuffix('.part')}"
    row, ids = min(zip(rows, (one["ids"] for one in made.encoded), strict=True), key=lambda pair: len(pair[1]))
    room = max([len(ids), *(len(one["ids"]) for one in made.predicted[:ROWS])]) + 2 * ANSWER
    with Worker(what) as worker, _in_time(worker, what):
        worker.ask(op="open", path=str(path), threads=threads, context=room, parallel=1)
        asked = proof.agreement is not None
        if proof.encoder:
            near = embeddings.measure(worker, made, ROWS) if asked else None
            if near is None:
                worker.ask(op="embed", texts=[row.messages[-1]["content"]])
            return near
        near = logits.measure(worker, made, ROWS)[0] if asked else None
        _answer(worker, row, what)
        return near


def _answer(worker: Worker, row: Row, what: str) -> None:
    messages = list(row.messages)
    while len(messages) > 1 and messages[-1]["role"] == "assistant":
        messages.pop()
    worker.send({
        "op": "generate", "id": 0, "messages": messages, "tools": row.tools, "max_tokens": ANSWER, "temperature": 0.0,
        "seed": 0, "logprobs": 0, "grammar": None,
    })  # fmt: skip
    worker.send({"op": "end"})
    said = worker.receive()
    if "refused" in said or not (said["ids"] or said["finish"] == "stop"):
        raise pillm.BackendError(
            f"{what}: it gives no answer to {row.id} ({said.get('refused', 'not one token')}). It was removed."
        )


@contextmanager
def _in_time(worker: Worker, what: str) -> Iterator[None]:
    """End the worker where it takes too long."""
    late: list[Any] = []

    def end() -> None:
        late.append(True)
        os.kill(worker.pid, signal.SIGKILL)

    timer = threading.Timer(SECONDS, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except WorkerDied as error:
        if late:
            raise pillm.BackendError(f"{what}: it gave no answer within {SECONDS:g} s. It was removed.") from error
        raise
    finally:
        timer.cancel()
