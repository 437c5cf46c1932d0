"""An open model on pillm's side: requests go to the worker, answers come back."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pillm
from pillm_llamacpp.inference.machine import free_memory, physical_cores, prefers_huge_pages
from pillm_llamacpp.inference.outcomes import Reader
from pillm_llamacpp.inference.timed import Timed
from pillm_llamacpp.workers.client import Worker, WorkerDied

if TYPE_CHECKING:
    from pillm_llamacpp.workers.pipe import Packet

Result: TypeAlias = tuple[pillm.Request, pillm.Answer | pillm.Failure]

_SMALL_BYTES = 48_000_000
_RESTARTS = 5
_EMBEDDED = 16
_KILLED = "The next run asks again; a smaller parallel or context takes less memory."
log = logging.getLogger("pillm.llamacpp")


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
    prefix: str = "none"
    graphics: str = ""
    """The number of the Vulkan device that it may use."""
    model: str = ""
    """The file's sha256, which a kept prefix is known by."""

    def threads_for(self, size: int) -> int:
        """Return how many threads decode a model of `size` bytes; below a few layers' worth, waiting costs more than work."""
        return self.threads or (1 if size < _SMALL_BYTES else physical_cores())


@dataclass(slots=True)
class Flight:
    """One call of `answer`: the requests to come, those that the worker has, and how many it may have."""

    requests: Iterator[pillm.Request]
    window: int
    flying: dict[int, pillm.Request] = field(default_factory=dict)
    sent: int = 0
    open: bool = True


class LocalSession(Timed, pillm.Session):
    """A GGUF file open in a worker process of this machine."""

    def __init__(self, path: Path, settings: Settings) -> None:
        """Load the model.

        Raises DataError where the file is not one, UnsafeError where it contradicts itself, BackendError where llama.cpp
        gives up.
        """
        for note in pillm.check_model_file(path):
            log.warning("%s: %s.", path.name, note)
        self._path, self._settings = path, settings
        self._threads = settings.threads_for(path.stat().st_size)
        self._restarts = 0
        self._prefix = _storage(settings)
        self._start()
        self._reader = Reader(
            model=self.facts["name"] or path.stem, tokenizer=self.facts["tokenizer"], constrain=settings.constrain,
            logprobs=settings.logprobs,
        )  # fmt: skip

    def _start(self) -> None:
        settings = self._settings
        on_processor = not (settings.graphics or settings.gpu_layers)
        huge = on_processor and prefers_huge_pages(self._path.stat().st_size, free_memory())
        self._worker = Worker(f"llama.cpp with {self._path.name}", graphics=settings.graphics, huge_pages=huge)
        try:
            self.facts = self._worker.ask(
                op="open", path=str(self._path.resolve()), threads=self._threads, context=settings.context,
                batch=settings.batch, parallel=settings.parallel, gpu_layers=settings.gpu_layers,
                prefix=self._prefix, mapped=not huge,
            )  # fmt: skip
        except BaseException:
            self._worker.close()
            raise
        given = self.facts["parallel"]
        if given < settings.parallel:
            log.warning(
                "%s: %d answers are decoded together, not %d: the memory that is free holds no more. All rows are answered, "
                "but now and then an answer may differ from one decoded among others. A smaller context makes room for more; "
                "parallel=%d asks for what there is room for now.", self._path.name, given, settings.parallel, given,
            )  # fmt: skip

    @property
    def worker_pid(self) -> int:
        """Return the id of the process that holds the model."""
        return self._worker.pid

    def answer(self, requests: Iterator[pillm.Request]) -> Iterator[Result]:
        """Pull requests, at most two rounds of parallel answers ahead, and yield each result as it is done.

        Rows that are in flight when llama.cpp crashes are asked again one by one, and the culprit is a failure; raises
        BackendError where it crashes again and again.
        """
        flight = Flight(iter(requests), 2 * self.facts["parallel"])
        finished = False
        try:
            while flight.open or flight.flying:
                try:
                    yield from self._launched(flight)
                    if flight.flying:
                        result = self._worker.receive()
                        request = flight.flying.pop(result["id"])
                        yield request, self._reader.outcome(request, result)
                except WorkerDied as error:
                    self._restart(error)
                    yield from self._one_by_one(flight)
            finished = True
        finally:
            if not finished:
                self._cancel()

    def _launched(self, flight: Flight) -> Iterator[Result]:
        """Send requests until the window is full; yield those that cannot be sent as failures."""
        while flight.open and len(flight.flying) < flight.window:
            request = next(flight.requests, None)
            if request is None:
                flight.open = False
                self._worker.send({"op": "end"})
                return
            try:
                packet = self._packet(request, flight.sent)
            except pillm.ConfigError as error:
                yield request, pillm.Failure("invalid", str(error))
                continue
            flight.flying[flight.sent] = request
            flight.sent += 1
            self._worker.send(packet)

    def _restart(self, error: WorkerDied) -> None:
        if self._restarts == _RESTARTS:
            advice = f"It was started again {_RESTARTS} times before; this was the last."
            raise pillm.BackendError(error.with_advice(advice)) from error
        self._restarts += 1
        self._prefix = None  # whatever the reason was, a file that was kept is not given to llama.cpp again
        self._start()

    def _one_by_one(self, flight: Flight) -> Iterator[Result]:
        """Ask alone each request that was in flight, so that one which makes llama.cpp crash is told from the others.

        A worker that was killed says nothing against the row: the next run asks it again.
        """
        for number, request in list(flight.flying.items()):
            try:
                self._worker.send(self._packet(request, number))
                self._worker.send({"op": "end"})
                outcome = self._reader.outcome(request, self._worker.receive())
            except WorkerDied as error:
                killed = pillm.Failure("server", error.with_advice(_KILLED))
                outcome = killed if error.killed else pillm.Failure("crashed", str(error))
                self._restart(error)
            del flight.flying[number]
            yield request, outcome

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
            "logprobs": settings.logprobs, "grammar": self._reader.grammar(request),
        }  # fmt: skip

    def embed(self, texts: Iterable[str]) -> Iterator[tuple[float, ...]]:
        """Yield one embedding of length 1 per text, pooled as the file says; a few texts are pulled ahead.

        Raises DataError for a text longer than the context, ConfigError where the model gives no embeddings.
        """
        for group in batched(texts, _EMBEDDED):
            yield from map(tuple, self._worker.ask(op="embed", texts=group)["vectors"])

    def close(self) -> None:
        """End the worker; calling it twice is harmless."""
        self._worker.close()


def batched(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield texts in lists of at most that size."""
    left = iter(texts)
    while group := list(islice(left, size)):
        yield group


def _storage(settings: Settings) -> Packet | None:
    """Return where prefixes are kept and what they are known by; None where they are not kept."""
    from pillm_llamacpp import source

    if settings.prefix == "none":
        return None
    single = settings.prefix != "auto"
    path = Path(settings.prefix).expanduser().resolve() if single else source.cache_folder().parent / "prefixes"
    if single and (path.is_dir() or not path.parent.is_dir()):
        raise pillm.ConfigError(f"prefix: {path} cannot be a file. Name a file in a folder that is there, or say auto or none.")
    return {"path": str(path), "single": single, "model": settings.model, "engine": source.COMMIT}
