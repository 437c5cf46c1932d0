"""The speed of a model that a server has open: its own clock for reading and writing, ours for when tokens arrive."""

from __future__ import annotations

import itertools
import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import pillm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pillm_openai.native import Native, Served
    from pillm_openai.teacher import OpenAI

_SAID = ("content", "reasoning_content", "reasoning", "tool_calls")


class Timed(pillm.Timer):
    """What times the model behind a session's server; mixed into the session."""

    served: Served
    _model: pillm.ModelFile
    _native: Native

    @abstractmethod
    def _asking(self, *, constrained: bool) -> OpenAI:
        """Return what builds a request."""

    def host(self) -> pillm.Host:
        """Return the server, and the context that it tells."""
        details = {"runner": "server", "served": self.served.sentence, "proof": self.served.proof}
        return pillm.Host(
            model=self._model.path.name, device=self._native.name, threads=0, context=self._native.context(),
            build=self._native.build(), details=details,
        )  # fmt: skip

    def time(self, work: pillm.BenchWork) -> pillm.Timing:
        """Read or write so many tokens; raise BackendError for a server that tells no timings as llama-server does.

        Seconds are the server's own; the first token and the steps between tokens are as they arrive here.
        """
        if work.depth or work.threads:
            what = "behind tokens that stand already" if work.depth else "with threads of its own choice"
            raise pillm.BackendError(f"{self._native.name} is not timed {what}: a server is timed as it was started.")
        reads = work.kind == "pp"
        begin = time.monotonic()
        found = self._native.timed(work.tokens if reads else 1, 1 if reads else work.tokens)
        steps = tuple(1000 * (after - before) for before, after in itertools.pairwise(found.arrivals))
        first = 1000 * (found.arrivals[0] - begin) if reads and found.arrivals else None
        seconds = work.tokens / (found.read_tps if reads else found.written_tps)
        return pillm.Timing(tokens=work.tokens, seconds=seconds, begin=begin, steps_ms=() if reads else steps, first_ms=first)

    def reply(self, prompt: pillm.Prompt, *, constrained: bool, fresh: bool) -> pillm.TimedReply:
        """Answer a row as a stream and say when its tokens came; `fresh` is asked of llama-server alone."""
        request = pillm.Request(key="bench", prompt=prompt, messages=prompt.messages)
        body: dict[str, Any] = {**self._asking(constrained=constrained).body(request), "stream": True}
        body.pop("logprobs", None)
        body.pop("top_logprobs", None)
        if self._native.is_llama_server():
            body["cache_prompt"] = not fresh
        began, cached = time.monotonic(), 0
        arrivals = []
        for at, event in self._native.stream("/chat/completions", body):
            timings = event.get("timings")
            cached = int(timings.get("cache_n") or 0) if isinstance(timings, dict) else cached
            arrivals += [at] if _says(event) else []
        if not arrivals:
            raise pillm.BackendError(f"{self._native.name} streamed no token of an answer to {prompt.where or prompt.id}.")
        gaps = tuple(1000 * (after - before) for before, after in itertools.pairwise(arrivals))
        return pillm.TimedReply(first_ms=1000 * (arrivals[0] - began), gaps_ms=gaps, cached=cached)


def _says(event: dict[str, Any]) -> bool:
    """Say whether an event of a stream holds something of an answer: text, a thought or a call."""
    return any(
        delta.get(key) for delta in _deltas(event) for key in ("content", "reasoning_content", "reasoning", "tool_calls")
    )


def _deltas(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    choices = event.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if isinstance(delta, dict):
            yield delta
