"""Answer several requests at once: their tokens share each decode, and a waiting request takes the first free place.

What prompts have in common at their beginning is computed once and given to every place.

Which requests share a decode depends on their order alone, never on timing, so that a run can be repeated.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from pillm_llamacpp.inference.prefixes import SHORTEST, Prefixes, common
from pillm_llamacpp.inference.sampling import Chooser, top_logprobs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pillm_llamacpp.inference.engine import Context, Model


@dataclass(slots=True, kw_only=True)
class Job:
    """One answer to be generated."""

    id: int
    prompt: list[int]
    max_tokens: int
    chooser: Chooser
    logprobs: int = 0


@dataclass(slots=True)
class Place:
    """One sequence of the KV cache: what it holds, and whose answer is being written there."""

    sequence: int
    held: list[int] = field(default_factory=list)
    job: Job | None = None
    todo: list[int] = field(default_factory=list)
    answer: list[int] = field(default_factory=list)
    logprobs: list[list[tuple[int, float]]] = field(default_factory=list)
    cached: int = 0
    boundary: int = 0
    """Tokens after which what it holds is kept for others; 0: nothing is."""
    began: float = 0.0
    first: float = 0.0


class Batcher:
    """Takes jobs and decodes them together."""

    def __init__(self, model: Model, context: Context, sequences: int, prefixes: Prefixes | None = None) -> None:
        self._model, self._context = model, context
        self._prefixes = prefixes or Prefixes("")
        self._last: list[int] = []
        self._places = [Place(number) for number in range(sequences)]
        self._waiting: deque[Job] = deque()
        self.more = False
        """Whether further jobs are announced; while they are, a free place waits for the next one."""

    @property
    def busy(self) -> bool:
        """Return whether there is anything to decode."""
        return bool(self._waiting) or any(place.job for place in self._places)

    @property
    def hungry(self) -> bool:
        """Return whether the next job must be known before decoding goes on."""
        free = sum(place.job is None for place in self._places)
        return self.more and len(self._waiting) < free

    def add(self, job: Job) -> None:
        """Queue a job whose prompt and answer fit one sequence."""
        self._waiting.append(job)

    def cancel(self) -> None:
        """Drop every job."""
        self._waiting.clear()
        for place in self._places:
            self._free(place)
        self.more = False

    def step(self) -> Iterator[dict[str, Any]]:
        """Decode once and yield the results of the jobs that are done."""
        # while a beginning is computed that others share, they wait for it
        while self._waiting and not any(place.boundary for place in self._places) and self._admit(self._waiting[0]):
            self._waiting.popleft()
        ready = self._fill()
        if not ready:
            return
        rows = self._context.logits(len(ready))
        best = np.argmax(rows, axis=1)
        for index, place in enumerate(ready):
            job = place.job
            if job is None:
                continue
            token = int(best[index]) if job.chooser.plain else job.chooser.choose(rows[index], int(best[index]))
            place.first = place.first or time.perf_counter()
            if token is not None and job.logprobs:
                place.logprobs.append(top_logprobs(rows[index], job.logprobs))
            finish = self._take(place, job, token)
            if finish:
                yield self._result(place, job, finish)
                self._free(place)

    def _admit(self, job: Job) -> bool:
        free = [place for place in self._places if place.job is None]
        if not free:
            return False
        place = max(free, key=lambda one: common(one.held, job.prompt))
        began = time.perf_counter()
        self._begin(place, job)
        boundary = self._boundary(job, len(free))
        place.job, place.cached, place.began, place.first = job, len(place.held), began, 0.0
        place.todo, place.answer, place.logprobs = job.prompt[place.cached :], [], []
        place.boundary = boundary if boundary >= place.cached else 0
        self._last = job.prompt
        self._keep_beginning(place)
        return True

    def _begin(self, place: Place, job: Job) -> None:
        """Let a place hold as much of a prompt as is known; its last token is decoded again, since its logits are needed."""
        most, prefix = len(job.prompt) - 1, self._prefixes.best(job.prompt)
        held = min(common(place.held, job.prompt), most)
        if prefix is not None and prefix.state is not None and common(prefix.tokens, job.prompt) >= held + SHORTEST:
            place.held = list(prefix.tokens) if self._context.restore(place.sequence, prefix.state) else []
            held = min(common(place.held, job.prompt), most)
        self._forget(place, held)

    def _boundary(self, job: Job, free: int) -> int:
        """Return how many tokens of a prompt are worth keeping for others, 0 where none are or they are kept already.

        It is looked for among the prompts that take their places together, else in the one before: what waits beyond
        that depends on timing.
        """
        others = [other.prompt for other in islice(self._waiting, 1, free)] or ([self._last] if self._last else [])
        shared = min([len(job.prompt) - 1, *(common(other, job.prompt) for other in others)]) if others else 0
        return shared if shared >= SHORTEST and self._prefixes.covered(job.prompt) < shared * 3 // 4 else 0

    def _keep_beginning(self, place: Place) -> None:
        """Keep what a place holds where that is the beginning that it computes for others."""
        if place.boundary and len(place.held) == place.boundary:
            state = self._context.state(place.sequence)
            if state is not None:
                self._prefixes.add(list(place.held), state)
            place.boundary = 0

    def _forget(self, place: Place, count: int) -> None:
        if count == len(place.held):
            return
        if not self._context.keep(place.sequence, count):
            self._context.keep(place.sequence, 0)
            count = 0
        del place.held[count:]

    def _fill(self) -> list[Place]:
        """Fill and decode one batch; return the places whose next token can be chosen, in the order of their logits."""
        context, count, ready = self._context, 0, []
        # answers under way go first, so that a long prompt never holds them up
        for place in sorted((one for one in self._places if one.todo), key=lambda one: len(one.todo) > 1):
            start = len(place.held)
            take = min(place.boundary - start if place.boundary else len(place.todo), context.batch - count)
            if not take:
                break
            end = count + take
            context.tokens[count:end] = place.todo[:take]
            context.positions[count:end] = np.arange(start, start + take) if take > 1 else start
            context.owners[count:end] = place.sequence
            context.outputs[count:end] = 0
            place.held += place.todo[:take]
            del place.todo[:take]
            if not place.todo:
                context.outputs[end - 1] = 1
                ready.append(place)
            count = end
        if count:
            context.decode(count)
        for place in self._places:
            self._keep_beginning(place)
        return ready

    def _take(self, place: Place, job: Job, token: int | None) -> str | None:
        """Note the chosen token and return why the answer ends here, or None."""
        if token is None:
            return "grammar"
        place.answer.append(token)
        if token in self._model.ends:
            return "stop"
        job.chooser.accept(token)
        if len(place.answer) >= job.max_tokens:
            return "length"
        place.todo = [token]
        return None

    def _result(self, place: Place, job: Job, finish: str) -> dict[str, Any]:
        # the token that ended the turn was generated too, but nobody said it
        spoken = place.answer[:-1] if finish == "stop" else place.answer
        return {
            "id": job.id,
            "text": self._model.text(spoken),
            "ids": place.answer,
            "finish": finish,
            "prompt_tokens": len(job.prompt),
            "cached": place.cached,
            "logprobs": place.logprobs[: len(place.answer)],
            "seconds": time.perf_counter() - place.began,
            "first": place.first - place.began,
        }

    def _free(self, place: Place) -> None:
        if place.job and place.job.chooser.grammar:
            place.job.chooser.grammar.close()
        place.job, place.todo, place.boundary = None, [], 0
