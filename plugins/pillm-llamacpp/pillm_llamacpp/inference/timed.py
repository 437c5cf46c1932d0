"""An open model is timed piece by piece: pillm's side of the worker's stopwatch."""

from __future__ import annotations

import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillm
from pillm_llamacpp.inference.machine import cpu_name

if TYPE_CHECKING:
    from pillm_llamacpp.inference.session import Settings
    from pillm_llamacpp.workers.client import Worker
    from pillm_llamacpp.workers.pipe import Packet


class Timed(pillm.Timer):
    """What times the model that a session's worker holds; mixed into the session."""

    facts: Packet
    _worker: Worker
    _path: Path
    _settings: Settings
    _threads: int

    def _packet(self, request: pillm.Request, number: int) -> Packet:
        raise NotImplementedError

    def machine(self) -> pillm.Machine:
        """Return this machine."""
        return pillm.LocalMachine()

    def host(self) -> pillm.Host:
        """Return what runs the model and what its process took so far."""
        from pillm_llamacpp import source

        facts, details = self.facts, self._details()
        return pillm.Host(
            model=self._path.name, device=self._settings.device, threads=self._threads, context=facts["sees"] or None,
            writes=facts["writes"], load_ms=facts["load_ms"], memory=self._worker.ask(op="memory"), details=details,
            build=source.IDENTITY, repack=facts["repacks"],
        )  # fmt: skip

    def time(self, work: pillm.BenchWork) -> pillm.Timing:
        """Do one piece of work in the worker and say how long it took; BackendError where the model cannot see as much."""
        threads = work.threads or self._threads
        began = time.monotonic()
        kind = work.kind if self.facts["writes"] else "embed"
        found = self._worker.ask(op="time", kind=kind, tokens=work.tokens, depth=work.depth, threads=threads)
        # what the worker timed is the end of what was waited for here
        begin = max(began, time.monotonic() - found["seconds"])
        return pillm.Timing(
            tokens=work.tokens, seconds=found["seconds"], begin=begin, steps_ms=tuple(found["steps_ms"]),
            first_ms=found["first_ms"], restore_ms=found["restore_ms"],
        )  # fmt: skip

    def reply(self, prompt: pillm.Prompt, *, constrained: bool, fresh: bool) -> pillm.TimedReply:
        """Answer a row alone and say when its tokens came."""
        from pillm_llamacpp.grammars.grammar import compile_schema

        request = pillm.Request(key="bench", prompt=prompt, messages=prompt.messages)
        packet = {**self._packet(request, 0), "logprobs": 0, "grammar": None}
        if constrained and prompt.schema is not None:
            packet["grammar"] = compile_schema(prompt.schema, where=prompt.where or prompt.id).gbnf
        found = self._worker.ask(**{**packet, "op": "reply", "fresh": fresh})
        return pillm.TimedReply(first_ms=found["first_ms"], gaps_ms=tuple(found["gaps_ms"]), cached=found["cached"])

    def _details(self) -> dict[str, Any]:
        system, features = platform.platform(), self.facts["features"]
        return {"cpu": cpu_name(), "features": features, "batch": self._settings.batch, "system": system}
