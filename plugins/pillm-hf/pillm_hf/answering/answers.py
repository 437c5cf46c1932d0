"""Answer requests with a loaded model: pull a window, sort it, decode it, and turn token ids into answers."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import pillm
from pillm_hf.answering.choosing import Load, Sampling, draws_for
from pillm_hf.answering.decoding import Decoder
from pillm_hf.answering.prefixes import shared_prefix
from pillm_hf.answering.sequences import SHORT_OF_MEMORY, TOO_LARGE, Batch, Sequence
from pillm_hf.models.memory import free_bytes
from pillm_hf.rows.chat import Chat

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from pillm_hf.answering.constraint import Constraint, Constraints
    from pillm_hf.answering.slots import Shape

WINDOW = 4  # batches in flight: enough to sort by length, few enough to lose little at a kill
_THINKING = re.compile(r"<think>\s*\Z")
_THOUGHT_OUT = "\n</think>\n\n"

Result = tuple[pillm.Request, pillm.Answer | pillm.Failure]


class _Owner(NamedTuple):
    request: pillm.Request
    started: float


@dataclass(slots=True)
class _Flight:
    """One call of `answer`: the requests to come, those that wait for a place, and the results that are due."""

    requests: Iterator[pillm.Request]
    sampling: Sampling
    most: int
    """How many requests may be pulled and not yet handed back."""
    waiting: list[Sequence] = field(default_factory=list)
    failed: list[Result] = field(default_factory=list)
    out: int = 0


class Answerer:
    """A loaded model that answers requests."""

    def __init__(self, model: PreTrainedModel, chat: Chat, name: str) -> None:
        self.model, self.chat, self.name = model, chat, name
        self.context = int(getattr(model.config.get_text_config(), "max_position_embeddings", 0) or 1 << 30)

    def answer(self, requests: Iterator[pillm.Request], sampling: Sampling, load: Load) -> Iterator[Result]:
        """Yield each request with its answer or failure, in any order; at most 4 batches of rows are in flight."""
        width = load.batch_size or self.comfortable_batch()
        flight = _Flight(iter(requests), sampling, WINDOW * width)

        def feed(count: int) -> list[Sequence] | None:
            if not flight.waiting and not self._pull(flight):
                return None
            taken = flight.waiting[-count:]
            del flight.waiting[-count:]
            return taken

        decoder = Decoder(self._batch(load), stop_ids=self.chat.stop_ids, sampling=sampling, width=width)
        for done in decoder.run(feed):
            for sequence in done:
                flight.out -= 1
                yield sequence.owner.request, self._answer(sequence)
            while flight.failed:  # before anything more is pulled: whoever asks may want to stop
                flight.out -= 1
                yield flight.failed.pop()

    def comfortable_batch(self) -> int:
        """Return a batch size that suits the model's size: small models need many rows to hide the cost of a step."""
        parameters = self.model.num_parameters()
        return 128 if parameters < 10**8 else 32 if parameters < 2 * 10**9 else 16

    def _batch(self, load: Load) -> Batch:
        """Return an empty batch: of slots where the model's cache allows it, bounded by the memory for its cache."""
        free = load.kv_memory * 2**20 if load.kv_memory else (free_bytes(self.model.device.type) or 0) // 2
        most = free // self._token_bytes if free and self._token_bytes else None
        if self._shape is None:
            from pillm_hf.answering.padded import Padded

            return Padded(self.model, self.chat.pad_id, most)
        from pillm_hf.answering.slots import Slots

        return Slots(self.model, self._shape, most)

    @cached_property
    def _token_bytes(self) -> int:
        from pillm_hf.answering.probing import token_bytes

        return token_bytes(self.model)

    @cached_property
    def _shape(self) -> Shape | None:
        from pillm_hf.answering.probing import slot_shape

        return slot_shape(self.model)

    @cached_property
    def _constraints(self) -> Constraints:
        from pillm_hf.answering.constraint import Constraints

        vocabulary = int(self.model.config.get_text_config().vocab_size)
        return Constraints(self.chat.tokenizer, vocabulary, self.chat.stop_ids)

    def _pull(self, flight: _Flight) -> bool:
        """Pull as many requests as may be in flight, sorted by their prompts' length; False where there are no more."""
        pulled = list(islice(flight.requests, flight.most - flight.out))
        flight.out += len(pulled)
        flight.waiting += self._sequences(pulled, flight)
        prefix = shared_prefix([sequence.prompt_ids for sequence in flight.waiting])
        for sequence in flight.waiting:
            if prefix and sequence.prompt_ids[: len(prefix)] == prefix and len(sequence.prompt_ids) > len(prefix):
                sequence.prefix = prefix
        flight.waiting.sort(key=lambda sequence: len(sequence.prompt_ids))
        return bool(pulled)

    def _sequences(self, requests: list[pillm.Request], flight: _Flight) -> list[Sequence]:
        """Return the requests as sequences; the ones that cannot be asked fail."""
        asked: list[tuple[pillm.Request, str, Constraint | None]] = []
        for request in requests:
            try:
                asked.append((request, *self._asked(request, flight.sampling)))
            except (pillm.DataError, pillm.ConfigError) as error:
                flight.failed.append((request, pillm.Failure("invalid", str(error))))
        made, sampling = [], flight.sampling
        for (request, _, constraint), ids in zip(asked, self.chat.encode([text for _, text, _ in asked]), strict=True):
            limit = min(sampling.max_new_tokens, self.context - len(ids))
            if limit < 1 or not ids:
                reason = f"the prompt has {len(ids)} tokens and the model reads at most {self.context}. Shorten it."
                flight.failed.append((request, pillm.Failure("invalid", reason)))
                continue
            draws = draws_for(request.key, request.sample, sampling, sampling.max_new_tokens + 1)
            owner = _Owner(request, time.perf_counter())
            made.append(Sequence(ids, limit, draws, owner=owner, constraint=constraint))
        return made

    def _asked(self, request: pillm.Request, sampling: Sampling) -> tuple[str, Constraint | None]:
        """Return a request's text and what holds its answer."""
        text = self.chat.prompt(request.messages, request.prompt.tools)
        if not sampling.constrain or request.prompt.schema is None:
            return text, None
        constraint = self._constraints.of(request.prompt.schema, request.prompt.where or request.prompt.id)
        # a grammar leaves no room for thoughts, so they are over before they begin
        return text + _THOUGHT_OUT if _THINKING.search(text) else text, constraint

    def _answer(self, sequence: Sequence) -> pillm.Answer | pillm.Failure:
        request, ids = sequence.owner.request, sequence.token_ids
        if sequence.finish_reason in (SHORT_OF_MEMORY, TOO_LARGE):
            return _too_large(sequence)
        text = self.chat.decode(ids[:-1] if sequence.finish_reason == "stop" else ids)
        if sequence.constraint and (fault := sequence.constraint.fault(text)):
            ended = "" if sequence.finish_reason == "stop" else f" (it was cut after {len(ids)} tokens)"
            return pillm.Failure("invalid", f"the constrained answer does not satisfy its schema: {fault}{ended}")
        # what a grammar held is the answer as it is, whatever its strings look like
        said = (text, None, ()) if sequence.constraint else pillm.read_reply(text, tools=bool(request.prompt.tools))
        content, reasoning, calls = said
        return pillm.Answer(
            content,
            reasoning=reasoning,
            tool_calls=calls,
            finish_reason=sequence.finish_reason,
            usage=pillm.Usage(prompt_tokens=len(sequence.prompt_ids), completion_tokens=len(ids)),
            model=self.name,
            token_ids=tuple(ids),
            logprobs=tuple(sequence.logprobs) or None,
            tokenizer_hash=self.chat.tokenizer_hash,
            timings={"seconds": round(time.perf_counter() - sequence.owner.started, 4)},
        )


def _too_large(sequence: Sequence) -> pillm.Failure:
    if sequence.finish_reason == TOO_LARGE:
        reason = f"kv_memory does not hold this row alone ({sequence.need} tokens with the longest answer)."
        return pillm.Failure("server", f"{reason} Raise kv_memory, or lower max_new_tokens.")
    reason = f"memory ran out on this row alone ({len(sequence.prompt_ids)} tokens and the answer)."
    return pillm.Failure("server", f"{reason} Shorten the prompt, lower max_new_tokens, or set load_in=4bit.")
