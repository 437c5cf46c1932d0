"""An open model on pillm's side: requests go to the worker, answers come back."""

from __future__ import annotations

import hashlib
import os
import platform
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillm
from pillm_llamacpp.client import Worker
from pillm_llamacpp.header import check_header

if TYPE_CHECKING:
    from pillm_llamacpp.grammar import Compiled
    from pillm_llamacpp.pipe import Packet


_SMALL_BYTES = 48_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a model is opened and asked."""

    context: int | None = None
    threads: int | None = None
    batch: int = 512
    parallel: int = 8
    gpu_layers: int = 0
    max_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    constrain: bool = False
    logprobs: int = 0
    device: str = "local"

    def threads_for(self, size: int) -> int:
        """Return how many threads decode a model of `size` bytes; below a few layers' worth, waiting costs more than work."""
        return self.threads or (1 if size < _SMALL_BYTES else physical_cores())


class LocalSession(pillm.Session):
    """A GGUF file open in a worker process of this machine."""

    def __init__(self, path: Path, settings: Settings) -> None:
        """Load the model; raise DataError where the file is not one, BackendError where llama.cpp gives up."""
        check_header(path)
        self._path, self._settings = path, settings
        self._grammars: dict[str, Compiled] = {}
        self._threads = settings.threads_for(path.stat().st_size)
        self._worker = Worker(f"llama.cpp with {path.name}")
        try:
            self.facts = self._worker.ask(
                op="open", path=str(path.resolve()), threads=self._threads, context=settings.context,
                batch=settings.batch, parallel=settings.parallel, gpu_layers=settings.gpu_layers,
            )  # fmt: skip
        except BaseException:
            self._worker.close()
            raise

    @property
    def worker_pid(self) -> int:
        """Return the id of the process that holds the model."""
        return self._worker.pid

    def answer(self, requests: Iterator[pillm.Request]) -> Iterator[tuple[pillm.Request, pillm.Answer | pillm.Failure]]:
        """Pull requests, at most two rounds of parallel answers ahead, and yield each result as it is done.

        Raises BackendError where the worker dies, ConfigError where a schema cannot be held to under `constrain`.
        """
        window = 2 * self._settings.parallel
        requests = iter(requests)
        flying: dict[int, pillm.Request] = {}
        number, open_ended = 0, True
        finished = False
        try:
            while True:
                while open_ended and len(flying) < window:
                    request = next(requests, None)
                    if request is None:
                        open_ended = False
                        self._worker.send({"op": "end"})
                        break
                    self._worker.send(self._packet(request, number))
                    flying[number] = request
                    number += 1
                if not flying:
                    finished = True
                    return
                result = self._worker.receive()
                request = flying.pop(result["id"])
                yield request, self._outcome(request, result)
        finally:
            if not finished:
                self._cancel()

    def _cancel(self) -> None:
        """Make the worker drop what nobody waits for any more."""
        try:
            self._worker.send({"op": "cancel"})
            while "cancelled" not in self._worker.receive():
                pass
        except pillm.PillmError:
            self._worker.close()

    def _packet(self, request: pillm.Request, number: int) -> Packet:
        settings = self._settings
        seed = int.from_bytes(hashlib.sha256(f"{settings.seed}:{request.key}".encode()).digest()[:7])
        return {
            "op": "generate", "id": number, "messages": list(request.messages), "tools": list(request.prompt.tools),
            "max_tokens": settings.max_tokens, "temperature": settings.temperature, "seed": seed,
            "logprobs": settings.logprobs, "grammar": self._grammar(request),
        }  # fmt: skip

    def _grammar(self, request: pillm.Request) -> str | None:
        compiled = self._compiled(request)
        return compiled.gbnf if compiled else None

    def _compiled(self, request: pillm.Request) -> Compiled | None:
        schema = request.prompt.schema
        if not self._settings.constrain or schema is None:
            return None
        from pillm_llamacpp.grammar import compile_schema, fingerprint

        key = fingerprint(schema)
        if key not in self._grammars:
            self._grammars[key] = compile_schema(schema, where=request.prompt.where or request.prompt.id)
        return self._grammars[key]

    def _outcome(self, request: pillm.Request, result: Packet) -> pillm.Answer | pillm.Failure:
        if "refused" in result:
            return pillm.Failure("invalid", result["refused"])
        compiled = self._compiled(request)
        if compiled and (reason := compiled.fault(result["text"])):
            ended = "" if result["finish"] == "stop" else f" (it ended by {result['finish']} after {len(result['ids'])} tokens)"
            return pillm.Failure("invalid", f"the constrained answer does not satisfy its schema: {reason}{ended}")
        usage = pillm.Usage(
            prompt_tokens=result["prompt_tokens"], completion_tokens=len(result["ids"]), cached_tokens=result["cached"]
        )
        logprobs = tuple(tuple((token, value) for token, value in row) for row in result["logprobs"])
        return pillm.Answer(
            result["text"], finish_reason=result["finish"], usage=usage, model=self.facts["name"] or self._path.stem,
            token_ids=tuple(result["ids"]), logprobs=logprobs if self._settings.logprobs else None,
            tokenizer_hash=self.facts["tokenizer"],
            timings={"seconds": result["seconds"]},
        )  # fmt: skip

    def embed(self, texts: Iterable[str]) -> Iterator[tuple[float, ...]]:
        """Yield one embedding of length 1 per text."""
        for text in texts:
            yield tuple(self._worker.ask(op="embed", texts=[text])["vectors"][0])

    def bench(self, plan: pillm.BenchPlan) -> pillm.Benchmark:
        """Time prefill and decode apart, as llama-bench does; prompt and answer are clipped to the model's context."""
        threads = plan.threads or self._threads
        found = self._worker.ask(op="bench", pp=plan.pp, tg=plan.tg, repetitions=plan.repetitions, threads=threads)
        return pillm.Benchmark(
            model=self._path.name, device=self._settings.device, basis="measured",
            pp_tps=statistics.median(found["pp_tps"]), tg_tps=statistics.median(found["tg_tps"]),
            pp=found["pp"], tg=found["tg"], threads=threads, repetitions=plan.repetitions, load_ms=found["load_ms"],
            ttft_ms=found["ttft_ms"], peak_memory=found["peak_memory"],
            samples={"pp_tps": found["pp_tps"], "tg_tps": found["tg_tps"]}, details=self._details(),
        )  # fmt: skip

    def _details(self) -> dict[str, Any]:
        from pillm_llamacpp import source

        return {"cpu": cpu_name(), "engine": source.IDENTITY, "batch": self._settings.batch, "system": platform.platform()}

    def close(self) -> None:
        """End the worker; calling it twice is harmless."""
        self._worker.close()


def physical_cores() -> int:
    """Return the cores that this process may use, hyper-threads counted once where that can be told."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    seen = set()
    for cpu in usable:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            seen.add(path.read_text("ascii").strip())
        except OSError:
            return len(usable)
    return len(seen)


def cpu_name() -> str:
    """Return what the processor, or on a single-board computer the board, is called."""
    for path, key in ((Path("/proc/device-tree/model"), None), (Path("/proc/cpuinfo"), "model name")):
        try:
            text = path.read_text("utf-8", "replace")
        except OSError:
            continue
        if key is None:
            return text.strip("\0\n ")
        for line in text.splitlines():
            if line.startswith(key):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
