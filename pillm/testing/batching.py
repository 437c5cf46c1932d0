"""Put a provider's batch queue to work, and hold its teacher to the protocol."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

from pillm.batches import BatchMode, BatchStatus, BatchTeacher
from pillm.contract import Contract
from pillm.records import Answer, Failure, Prompt
from pillm.testing.declarations import check_ready, require
from pillm.testing.samples import sample_examples


def check_batch_teacher(
    teacher: BatchTeacher, prompts: Sequence[Prompt] | None = None, *, patience: float = 60.0
) -> dict[str, Answer | Failure]:
    """Hand a small batch over, find it, wait for it and collect it; return what it said by request key.

    A provider is asked for real: give it a server on loopback. The batch is to end within `patience` seconds. Raises
    ConformanceError.
    """
    check_ready(teacher)
    where = f"teacher {teacher.name!r}"
    asked = [example.prompt for example in sample_examples()] if prompts is None else list(prompts)
    requests = [Contract().request(prompt, teacher.identity()) for prompt in asked]
    keys, name = {request.key for request in requests}, secrets.token_hex(16)
    require(isinstance(teacher.batch_mode(), BatchMode), f"batch_mode() of {where} must be a BatchMode.")
    sizes = [teacher.measure(request) for request in requests]
    require(all(isinstance(size, int) and size >= 0 for size in sizes), f"measure() of {where} must be bytes, not {sizes!r}.")
    with teacher.open() as opened:
        require(isinstance(opened, BatchTeacher), f"open() of {where} must give a BatchTeacher, not {opened!r}.")
        require(opened.find(name) is None, f"{where} finds a batch by a name that none was submitted under.")
        batch = opened.submit(requests, name)
        require(isinstance(batch, str) and batch, f"submit() of {where} must return the provider's id, not {batch!r}.")
        found = opened.find(name)
        require(
            found == batch, f"{where} submitted batch {batch!r} and finds {found!r} by its name: a kill would buy it twice."
        )
        _wait(opened, batch, patience, where)
        said = _collected(opened, batch, keys, where)
        again = _collected(opened, batch, keys, where)
    require(said.keys() == again.keys(), f"{where} gives other results when a batch is collected again, as after a kill.")
    return said


def _wait(teacher: BatchTeacher, batch: str, patience: float, where: str) -> None:
    end = time.monotonic() + patience
    while True:
        status = teacher.poll(batch)
        require(isinstance(status, BatchStatus), f"poll() of {where} must return a BatchStatus, not {status!r}.")
        require(0 <= status.done <= status.total, f"{where} says that {status.done} of {status.total} requests are done.")
        if status.ended:
            return
        require(time.monotonic() < end, f"batch {batch} of {where} did not end within {patience:g} s.")
        time.sleep(min(0.1, teacher.batch_mode().poll))


def _collected(teacher: BatchTeacher, batch: str, keys: set[str], where: str) -> dict[str, Answer | Failure]:
    said: dict[str, Answer | Failure] = {}
    for key, result in teacher.collect(batch):
        require(key not in said, f"{where} gave two results of one request.")
        require(isinstance(result, Answer | Failure), f"{where} must collect an Answer or a Failure, not {result!r}.")
        said[key] = result
    require(said.keys() & keys, f"{where} collected no result under the keys of what was submitted.")
    return said
