"""A model file that answers and embeds on a board, asked with the tokens that runner `local` would decode."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import pillm
from pillm_llamacpp.boards.boardserver import BoardServer
from pillm_llamacpp.inference.outcomes import Reader
from pillm_llamacpp.inference.session import batched
from pillm_llamacpp.workers.refusal import too_long

if TYPE_CHECKING:
    from pillm_llamacpp.workers.pipe import Packet

_Reply: TypeAlias = tuple[int, Any, float]
"""Status, what came, and after how many seconds."""

_CONTEXT = 4096
_TOGETHER = 16
_UBATCH = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How a model is served there: `server` is the program, times are seconds."""

    server: str = "llama-server"
    folder: str = ".cache/pillm/models"
    context: int | None = None
    threads: int = 4
    parallel: int = 1
    max_tokens: int = 256
    constrain: bool = False
    logprobs: int = 0
    timeout: float = 1800.0


class BoardAnswers(pillm.Session):
    """A model file on a board, open for questions; a server is started there for the first of them."""

    def __init__(self, remote: pillm.Remote, model: pillm.ModelFile, serving: Serving) -> None:
        """Look at the file's vocabulary and template here; nothing is sent yet."""
        from pillm_llamacpp.workers.client import Worker

        self._remote, self._model, self._serving = remote, model, serving
        self._server: BoardServer | None = None
        self._serves = ""
        self._program: pillm.LlamaProgram | None = None
        self._sent = ""
        """Where the file lies there."""
        # only the vocabulary: it renders the template and splits the text as all of pillm does
        self._worker = Worker(f"llama.cpp with {model.path.name}")
        try:
            self.facts = facts = self._worker.ask(op="open", path=str(model.path.resolve()), vocab_only=True)
        except BaseException:
            self._worker.close()
            raise
        self._ends = frozenset(facts["ends"])
        trained = str(facts["trained"] or "")
        self._context = min(serving.context or _CONTEXT, int(trained) if trained.isdigit() and int(trained) else _CONTEXT)
        self._reader = Reader(
            model=facts["name"] or model.path.stem, tokenizer=facts["tokenizer"], constrain=serving.constrain,
            logprobs=serving.logprobs,
        )  # fmt: skip

    def answer(self, requests: Iterator[pillm.Request]) -> Iterator[tuple[pillm.Request, pillm.Answer | pillm.Failure]]:
        """Pull as many requests as are answered at once and yield each as it is done; what cannot be asked is a failure.

        Raises Unavailable where the connection breaks, BackendError where the server there ends, and what starting it raises.
        """
        flying: dict[Future[_Reply], tuple[pillm.Request, int]] = {}
        with ThreadPoolExecutor(self._serving.parallel) as pool:
            try:
                for request in requests:
                    body = self._body(request)
                    if isinstance(body, pillm.Failure):
                        yield request, body
                        continue
                    flying[pool.submit(self._timed_answer, self._started("answer"), body)] = (request, len(body["prompt"]))
                    if len(flying) == self._serving.parallel:
                        yield from self._landed(flying)
                while flying:
                    yield from self._landed(flying)
            except pillm.PillmError:
                self._end()
                raise
            finally:
                if flying:  # nobody waits for them any more
                    self._end()

    def _landed(
        self, flying: dict[Future[_Reply], tuple[pillm.Request, int]]
    ) -> Iterator[tuple[pillm.Request, pillm.Answer | pillm.Failure]]:
        """Wait for the next answer and yield all that are there."""
        for one in wait(flying, return_when=FIRST_COMPLETED).done:
            status, found, seconds = one.result()
            request, told = flying.pop(one)
            if 400 <= status < 500:  # this row is what it does not take; another may do
                refused = f"{self._remote.host}: llama-server refused the row: {str(found)[:300]}"
                yield request, pillm.Failure("invalid", refused)
                continue
            yield request, self._reader.outcome(request, self._result(self._checked(status, found), told, seconds))

    def _timed_answer(self, server: BoardServer, body: dict[str, Any]) -> _Reply:
        began = time.monotonic()
        status, found = server.ask("/completion", body, timeout=self._serving.timeout)
        return status, found, time.monotonic() - began

    def _encoded(self, request: pillm.Request, *, held: bool) -> list[int]:
        row = {"messages": list(request.messages), "tools": list(request.prompt.tools), "ask": True, "held": held}
        (found,) = self._worker.ask(op="encode", rows=[row])["rows"]
        return list(found["ids"])

    def _body(self, request: pillm.Request) -> dict[str, Any] | pillm.Failure:
        """Return what the server is asked for a request, or why it cannot be."""
        try:
            grammar = self._reader.grammar(request)
            ids = self._encoded(request, held=grammar is not None)
        except (pillm.BackendError, pillm.ConfigError) as error:
            return pillm.Failure("invalid", str(error))
        room = self._context - len(ids)
        if not ids or room < 1:
            return pillm.Failure("invalid", f"the prompt has {len(ids)} tokens; the context is {self._context}")
        body = {
            "prompt": ids, "n_predict": min(self._serving.max_tokens, room), "temperature": 0.0, "samplers": ["temperature"],
            "return_tokens": True, "n_probs": self._serving.logprobs, "cache_prompt": True,
        }  # fmt: skip
        return body if grammar is None else {**body, "grammar": grammar}

    def _result(self, found: dict[str, Any], told: int, seconds: float) -> Packet:
        """Return an answer of the server in the form in which a worker here gives it."""
        try:
            ids, timings = [int(token) for token in found["tokens"]], found.get("timings") or {}
            stopped = found["stop_type"] in ("eos", "word")
            said = ids[:-1] if stopped and ids and ids[-1] in self._ends else ids
            rows = found.get("completion_probabilities") or []
            logprobs = [[(int(top["id"]), float(top["logprob"])) for top in row["top_logprobs"]] for row in rows]
            if not ids and found.get("content"):
                raise ValueError("it tells no token ids: it is older than the option for them")
            first = float(timings.get("prompt_ms") or 0.0) / 1000
            cached = max(0, told - int(timings.get("prompt_n", told)))
        except (LookupError, TypeError, ValueError) as error:
            raise pillm.BackendError(
                f"{self._remote.host}: llama-server gave an answer that cannot be read ({type(error).__name__}: {error})."
            ) from error
        return {
            "text": self._worker.ask(op="text", ids=said)["text"], "ids": ids, "prompt_tokens": told, "cached": cached,
            "finish": "stop" if stopped else "length", "logprobs": logprobs, "seconds": seconds, "first": first,
        }  # fmt: skip

    def embed(self, texts: Iterable[str]) -> Iterator[tuple[float, ...]]:
        """Yield one embedding of length 1 per text, pooled as the file says; a few texts are pulled ahead.

        Raises DataError for a text longer than the context, ConfigError where the model gives no embeddings.
        """
        for group in batched(texts, _TOGETHER):
            yield from self._embedded([self._tokens(text) for text in group])

    def _tokens(self, text: str) -> list[int]:
        ids = list(self._worker.ask(op="tokenize", text=text, special=True)["ids"]) or [0]
        if len(ids) > self._context:
            raise pillm.DataError(f"{too_long(len(ids), self._context)}.")
        return ids

    def _embedded(self, group: list[list[int]]) -> Iterator[tuple[float, ...]]:
        body = {"input": group, "encoding_format": "float"}
        found = self._checked(*self._started("embed").ask("/v1/embeddings", body, timeout=self._serving.timeout))
        try:
            rows = sorted(found["data"], key=lambda row: int(row["index"]))
            vectors = [tuple(float(value) for value in row["embedding"]) for row in rows]
            if len(vectors) != len(group):
                raise ValueError(f"{len(vectors)} vectors for {len(group)} texts")
        except (LookupError, TypeError, ValueError) as error:
            raise pillm.BackendError(
                f"{self._remote.host}: llama-server gave no embeddings that can be read ({error})."
            ) from error
        yield from vectors

    def _checked(self, status: int, found: Any) -> dict[str, Any]:
        if status != 200 or not isinstance(found, dict):
            raise pillm.BackendError(f"{self._remote.host}: llama-server answered with status {status}: {str(found)[:300]}")
        return found

    def _started(self, serves: str) -> BoardServer:
        """Return the server there that answers, embeds or is timed; a board has not the memory for two at once."""
        if self._server is None or self._serves != serves:
            self._end()
            self._server = self._start(serves)
            self._serves = serves
        return self._server

    def _start(self, serves: str) -> BoardServer:
        serving, program, path = self._serving, self._served_by(), self._uploaded()
        parallel = serving.parallel if serves == "answer" else 1
        options: dict[str, object] = {"model": path, "context": self._context * parallel, "parallel": parallel, "cache_ram": 0}
        options |= {"threads": serving.threads, "threads_batch": serving.threads}
        batch = _UBATCH
        if serves == "embed":  # a text is read at once, as pooling needs it
            batch = self._context
            program.words(embedding=True, pooling="mean")  # without them it would answer with something else
            options |= {"embedding": True, "pooling": self._worker.ask(op="pooling")["pooling"]}
            options["flash_attn"] = "off"  # as here: its sums are of 16 bit
        words, _ = program.serving(**options, batch=batch, ubatch=batch)
        needs = pillm.memory_to_serve(self._model, context=self._context, parallel=parallel, ubatch=batch)
        saves = serves == "time" and program.knows("slot_folder")
        return BoardServer(self._remote, program, words, needs=needs, wait=serving.timeout, saves=saves)

    def _served_by(self) -> pillm.LlamaProgram:
        if self._program is None:
            self._program = pillm.find_llama_program(self._remote, self._remote.path(self._serving.server))
        return self._program

    def _uploaded(self) -> str:
        """Return where the file lies there; it is sent unless it is there already."""
        if not self._sent:
            self._sent = self._remote.upload(self._model.path, self._serving.folder, self._model.sha256)
        return self._sent

    def _end(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def close(self) -> None:
        """End the server there and the worker here; calling it twice is harmless."""
        try:
            self._end()
        finally:
            self._worker.close()
            self._remote.close()
