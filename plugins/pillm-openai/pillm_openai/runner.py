"""The runner `server`: a model file that a server answers from already, on this machine or another."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any, ClassVar

from pydantic import Field, field_validator

import pillm
from pillm_openai.address import check_url, is_here, secret_for, server_name
from pillm_openai.embeddings import embedded
from pillm_openai.native import Native, Served
from pillm_openai.teacher import OpenAI
from pillm_openai.timing import Timed

_FREE: dict[str, Any] = {"key": False}
log = logging.getLogger("pillm.openai")


class ServerRunner(pillm.Runner):
    """Answers from a GGUF file that a server has open: llama-server, Ollama, or another with OpenAI's API."""

    name: ClassVar[str] = "server"
    reads: ClassVar[frozenset[str]] = frozenset({"gguf"})
    capabilities: ClassVar[frozenset[str]] = frozenset({"answer", "bench", "embed", "grammar", "logprobs"})

    base_url: str = Field("http://127.0.0.1:8080/v1", description="The address of the server's OpenAI-compatible API.")
    model: str | None = Field(None, min_length=1, description="The model, as the server names it; none: the only one it lists.")
    max_tokens: int = Field(256, ge=1, description="Tokens after which an answer is cut.")
    constrain: bool = Field(False, description="Ask the server to hold answers to the row's JSON Schema (response_format).")
    logprobs: int = Field(0, ge=0, le=20, description="Alternatives per token to ask for, with log-probabilities.")
    extra_body: dict[str, Any] = Field(
        default_factory=dict, description="Further fields of the request, as the server names them."
    )
    prove: bool = Field(
        False,
        description="Refuse a server that does not prove by a hash that it serves this very file.",
        json_schema_extra=_FREE,
    )
    concurrency: int = Field(1, ge=1, le=1024, description="Requests in flight at once.", json_schema_extra=_FREE)
    timeout: float = Field(600.0, gt=0, description="Seconds to wait for one answer.", json_schema_extra=_FREE)
    api_key_env: str | None = Field(
        None, pattern=r"^[A-Z_][A-Z0-9_]*$", description="The name of the environment variable that holds the server's key.",
        json_schema_extra=_FREE,
    )  # fmt: skip

    @field_validator("base_url")
    @classmethod
    def _an_address(cls, value: str) -> str:
        return check_url(value)

    def identity(self) -> dict[str, Any]:
        """Return the server and every option that is not as it usually is."""
        given = {name: value for name, value in super().identity().items() if name != "base_url"}
        return {**given, "server": server_name(self.base_url)}

    def check(self) -> None:
        """Raise Unavailable where a key is missing, UnsafeError where it would travel in clear; nothing is sent."""
        secret_for(self.base_url, self.api_key_env)

    def probe(self) -> pillm.DeviceFacts:
        """Return what this machine is where the server is on it; raise Unavailable for another, which only answers."""
        if is_here(self.base_url):
            return super().probe()
        raise pillm.Unavailable(f"{server_name(self.base_url)} answers and does not tell what machine it is.")

    def teacher(self, model: str) -> OpenAI:
        """Return what asks the server, greedily."""
        return OpenAI(
            model=model, base_url=self.base_url, api_key_env=self.api_key_env, temperature=0.0, max_tokens=self.max_tokens,
            structured=self.constrain, logprobs=self.logprobs, extra_body=self.extra_body, concurrency=self.concurrency,
            timeout=self.timeout,
        )  # fmt: skip

    def open(self, model: pillm.ModelFile | pillm.Checkpoint) -> pillm.Session:
        """Ask the server what it serves, and return a session with it.

        Raises ConfigError where that is another file, Unavailable where nobody answers, BackendError where `prove` is set and
        it cannot be proved.
        """
        if isinstance(model, pillm.Checkpoint):
            raise pillm.ConfigError(f"runner 'server' reads GGUF files, and {model.path} is a model folder. Export it first.")
        native = Native(self.base_url, secret_for(self.base_url, self.api_key_env), self.timeout)
        try:
            served = native.served(model, self.model)
            if served.proof != "bytes" and self.prove:
                raise pillm.BackendError(f"{served.sentence}, and prove=true asks for a proof. Nothing was asked.")
        except BaseException:
            native.close()
            raise
        if served.proof != "bytes":
            log.warning("%s: scores and speeds are its own word for %s.", served.sentence, model.path.name)
        return ServerSession(self, model, native, served)


class ServerSession(Timed, pillm.Session):
    """A server that answers from a model file."""

    def __init__(self, runner: ServerRunner, model: pillm.ModelFile, native: Native, served: Served) -> None:
        self._runner, self._model, self._native, self.served = runner, model, native, served
        self._stack = ExitStack()
        self._stack.callback(native.close)
        try:
            self._teacher = self._stack.enter_context(runner.teacher(served.model).open())
        except BaseException:
            self._stack.close()
            raise

    def answer(self, requests: Iterator[pillm.Request]) -> Iterator[tuple[pillm.Request, pillm.Answer | pillm.Failure]]:
        """Ask at most `concurrency` at once and yield in the order of completion."""
        yield from self._teacher.answer(requests)

    def embed(self, texts: Iterable[str]) -> Iterator[tuple[float, ...]]:
        """Yield one embedding of length 1 per text, pooled as the server pools; raises what `embedded` raises."""
        yield from embedded(self._native, self.served.model, texts)

    def _asking(self, *, constrained: bool) -> OpenAI:
        return self._runner.model_copy(update={"constrain": constrained}).teacher(self.served.model)

    def close(self) -> None:
        """Hang up; calling it twice is harmless."""
        self._stack.close()
