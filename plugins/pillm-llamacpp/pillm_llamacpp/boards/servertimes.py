"""When the tokens of a llama-server came, by its own clock: the network between it and us is not timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pillm

if TYPE_CHECKING:
    from pillm_llamacpp.boards.boardserver import BoardServer

_GREEDY = {"temperature": 0.0, "samplers": ["temperature"], "stream": True, "timings_per_token": True, "return_tokens": True}


def pace(server: BoardServer, body: dict[str, Any], *, timeout: float) -> pillm.TimedReply:
    """Return when the tokens of an answer came; raise BackendError where the server does not say."""
    moments: list[tuple[int, float]] = []
    first, cached = 0.0, 0
    for event in server.stream("/completion", {**_GREEDY, **body}, timeout=timeout):
        try:
            told = event["timings"]
            first, cached = float(told["prompt_ms"]), int(told.get("cache_n", 0))
            moments.append((int(told["predicted_n"]), float(told["predicted_ms"])))
        except (LookupError, TypeError, ValueError) as error:
            raise pillm.BackendError(
                f"llama-server tells no timings with its tokens, as one of another version: {str(event)[:200]}"
            ) from error
    if not moments:
        raise pillm.BackendError("llama-server ended its answer without a token.")
    gaps: list[float] = []
    for (before, began), (after, ended) in zip([(1, 0.0), *moments], moments, strict=False):
        # a piece of text may be of several tokens: a letter may be
        gaps += [(ended - began) / (after - before)] * (after - before) if after > before else []
    return pillm.TimedReply(first_ms=first, gaps_ms=tuple(gaps), cached=cached)


def written(server: BoardServer, body: dict[str, Any], *, timeout: float) -> pillm.TimedReply:
    """Return when tokens came that go on whatever they are."""
    return pace(server, {"ignore_eos": True, **body}, timeout=timeout)


@dataclass(slots=True)
class Prefixed:
    """Beginnings that a server keeps in files, by their length in tokens."""

    server: BoardServer
    timeout: float
    _saved: dict[int, list[int]] = field(default_factory=dict)

    def time(self, work: pillm.BenchWork, drawn: Callable[[int], list[int]]) -> pillm.Timing:
        """Time reading a prompt behind a beginning; the first time that is read and saved, then it is put back.

        Raises BackendError where the server does not save, or does not take what it saved.
        """
        if work.kind != "pp":
            raise pillm.BackendError("only reading is timed behind a saved beginning.")
        known, restored = work.depth in self._saved, None
        if known:
            self._do("erase")
            restored = float(self._do("restore", work.depth)["timings"]["restore_ms"])
        else:
            self._saved[work.depth] = drawn(work.depth)
            written(
                self.server, {"prompt": self._saved[work.depth], "n_predict": 1, "cache_prompt": False}, timeout=self.timeout
            )
            self._do("save", work.depth)
        began = time.monotonic()
        asked = {"prompt": self._saved[work.depth] + drawn(work.tokens), "n_predict": 1, "cache_prompt": True}
        found = written(self.server, asked, timeout=self.timeout)
        if found.cached < work.depth:
            raise pillm.BackendError(f"llama-server took {found.cached} of {work.depth} saved tokens.")
        seconds = found.first_ms / 1000
        return pillm.Timing(tokens=work.tokens, seconds=seconds, begin=began, first_ms=found.first_ms, restore_ms=restored)

    def _do(self, action: str, depth: int = 0) -> dict[str, Any]:
        body = {"filename": f"{depth}.state"} if depth else {}
        status, found = self.server.ask(f"/slots/0?action={action}", body, timeout=self.timeout)
        if status != 200 or not isinstance(found, dict):
            raise pillm.BackendError(f"llama-server does not {action} a prompt (status {status}): {str(found)[:200]}")
        return found
