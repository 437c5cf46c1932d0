"""Answer requests with a loaded model: pull a window, sort it, batch it, and turn token ids into answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

import pillm
from pillm_hf.chat import Chat
from pillm_hf.choosing import Sampling, draws_for
from pillm_hf.decoding import Decoder, Sequence

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WINDOW = 4  # batches pulled ahead: enough to sort by length, few enough to lose little at a kill

Result = tuple[pillm.Request, pillm.Answer | pillm.Failure]


class Answerer:
    """A loaded model that answers requests."""

    def __init__(self, model: PreTrainedModel, chat: Chat, name: str) -> None:
        self.model, self.chat, self.name = model, chat, name
        self.context = int(getattr(model.config.get_text_config(), "max_position_embeddings", 0) or 1 << 30)

    def answer(self, requests: Iterator[pillm.Request], sampling: Sampling, batch_size: int | None = None) -> Iterator[Result]:
        """Yield each request with its answer or failure, in any order; at most 4 batches are pulled ahead."""
        width, requests = batch_size or self.comfortable_batch(), iter(requests)
        waiting: list[Sequence] = []
        failed: list[Result] = []

        def feed(count: int) -> list[Sequence] | None:
            if not waiting:
                pulled = list(islice(requests, WINDOW * width))
                if not pulled:
                    return None
                waiting.extend(self._sequences(pulled, sampling, failed))
            taken = waiting[-count:]
            del waiting[-count:]
            return taken

        decoder = Decoder(self.model, stop_ids=self.chat.stop_ids, pad_id=self.chat.pad_id, sampling=sampling, width=width)
        for done in decoder.run(feed):
            for sequence in done:
                yield sequence.owner[0], self._answer(sequence)
            while failed:  # before anything more is pulled: whoever asks may want to stop
                yield failed.pop()

    def comfortable_batch(self) -> int:
        """Return a batch size that suits the model's size: small models need many rows to hide the cost of a step."""
        parameters = self.model.num_parameters()
        return 128 if parameters < 10**8 else 32 if parameters < 2 * 10**9 else 16

    def _sequences(self, requests: list[pillm.Request], sampling: Sampling, failed: list[Result]) -> list[Sequence]:
        """Return the requests as sequences, shortest first; the ones that cannot be asked go to `failed`."""
        texts, kept = [], []
        for request in requests:
            try:
                texts.append(self.chat.prompt(request.messages, request.prompt.tools))
                kept.append(request)
            except pillm.DataError as error:
                failed.append((request, pillm.Failure("invalid", str(error))))
        made = []
        for request, ids in zip(kept, self.chat.encode(texts), strict=True):
            limit = min(sampling.max_new_tokens, self.context - len(ids))
            if limit < 1:
                reason = f"the prompt has {len(ids)} tokens and the model reads at most {self.context}. Shorten it."
                failed.append((request, pillm.Failure("invalid", reason)))
                continue
            draws = draws_for(request.key, request.sample, sampling, sampling.max_new_tokens + 1)
            made.append(Sequence(ids, limit, draws, owner=(request, time.perf_counter())))
        return sorted(made, key=lambda sequence: len(sequence.prompt_ids))

    def _answer(self, sequence: Sequence) -> pillm.Answer | pillm.Failure:
        request, started = sequence.owner
        if sequence.finish_reason == "memory":
            reason = f"memory ran out on this row alone ({len(sequence.prompt_ids)} tokens and the answer)."
            return pillm.Failure("server", f"{reason} Shorten the prompt, lower max_new_tokens, or set load_in=4bit.")
        ids = sequence.token_ids
        spoken = ids[:-1] if sequence.finish_reason == "stop" else ids
        text = self.chat.decode(spoken)
        content, reasoning, calls = pillm.read_reply(text, tools=bool(request.prompt.tools))
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
            timings={"seconds": round(time.perf_counter() - started, 4)},
        )
