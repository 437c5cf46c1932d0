"""The teacher `openai`: its options, the request it makes of a row, and how many are asked at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, ClassVar, Self

from pydantic import ConfigDict, Field, PrivateAttr, field_validator

import pillm
from pillm_openai.address import check_url, effective_url, is_near, is_openai, secret_for, server_name
from pillm_openai.batch import MAX_FILE, Queue, line_of
from pillm_openai.errand import Errand
from pillm_openai.line import Line, Patience, Question
from pillm_openai.pace import Limits
from pillm_openai.schemas import response_format
from pillm_openai.writing import encoded

_FREE: dict[str, Any] = {"key": False}
_MESSAGE_KEYS = ("role", "content", "name", "tool_calls", "tool_call_id", "refusal")
_GUESSED_ANSWER = 256
_IN_A_ROW = 10
_LOOK_UP_EVERY = 0.2  # seconds: how soon a stop is noticed while nothing comes in


class OpenAI(pillm.BatchTeacher):
    """Any OpenAI-compatible server: OpenAI itself, a gateway, vLLM, llama-server, Ollama."""

    model_config = ConfigDict(hide_input_in_errors=True)
    name: ClassVar[str] = "openai"

    model: str = Field(min_length=1, description="The model, as the server names it.")
    base_url: str | None = Field(None, description="The server's address; else OPENAI_BASE_URL, else OpenAI's own.")
    api_key_env: str | None = Field(
        None,
        pattern=r"^[A-Z_][A-Z0-9_]*$",
        description="The name of the environment variable that holds the key; none: OPENAI_API_KEY, and over http to this "
        "machine only. A server in this network needs no key.",
        json_schema_extra=_FREE,
    )
    temperature: float | None = Field(0.0, ge=0, le=2, description="Sampling temperature; none leaves it to the server.")
    top_p: float | None = Field(None, gt=0, le=1, description="Nucleus sampling.")
    max_tokens: int | None = Field(None, ge=1, description="The longest answer, in tokens.")
    seed: int | None = Field(None, description="The seed of the first sample; each further sample adds one.")
    reasoning_effort: str | None = Field(None, description="How hard a reasoning model thinks: minimal, low, medium, high.")
    structured: bool = Field(True, description="Ask for the row's JSON schema through response_format.")
    logprobs: int = Field(0, ge=0, le=20, description="How many alternatives per token to ask for.")
    extra_body: dict[str, Any] = Field(
        default_factory=dict, description="Further fields of the request, as the server names them (top_k, ...)."
    )
    concurrency: int = Field(
        8, ge=1, le=1024, description="Requests in flight at once; fewer while the server answers 429.", json_schema_extra=_FREE
    )
    rpm: int | None = Field(
        None, ge=1, description="Requests that may be sent in any minute; none: as many as the server takes.",
        json_schema_extra=_FREE,
    )  # fmt: skip
    tpm: int | None = Field(
        None, ge=1, description="Tokens, of prompts and answers, that may be used in any minute.", json_schema_extra=_FREE
    )
    timeout: float = Field(600.0, gt=0, description="Seconds to wait for one answer.", json_schema_extra=_FREE)
    max_retries: int = Field(5, ge=0, le=50, description="Further tries after a fault that may pass.", json_schema_extra=_FREE)
    max_wait: float = Field(
        300.0, ge=0, description="The longest pause, in seconds, that a server may ask for.", json_schema_extra=_FREE
    )
    backoff: float = Field(
        0.5, ge=0, description="Seconds of back-off, doubled at each try and jittered.", json_schema_extra=_FREE
    )
    batch: bool = Field(
        False,
        description="Ask through the provider's batch queue: at half price with OpenAI, within a day.",
        json_schema_extra=_FREE,
    )
    batch_size: int = Field(10_000, ge=1, le=50_000, description="The most requests of one batch.", json_schema_extra=_FREE)
    batches: int = Field(4, ge=1, le=100, description="Batches with the provider at once.", json_schema_extra=_FREE)
    batch_poll: float = Field(60.0, gt=0, description="Seconds between two looks at a batch.", json_schema_extra=_FREE)
    batch_wait: bool = Field(
        True,
        description="Wait for batches; no: hand in, collect what is done, and leave with exit code 5.",
        json_schema_extra=_FREE,
    )
    batch_give_up: bool = Field(
        False,
        description="Ask the requests of batches anew that the server no longer has; they may be paid for twice.",
        json_schema_extra=_FREE,
    )
    _line: Line | None = PrivateAttr(default=None)

    @field_validator("base_url")
    @classmethod
    def _an_address(cls, value: str | None) -> str | None:
        return value if value is None else check_url(value)

    def identity(self) -> dict[str, Any]:
        """Return model and server, and every parameter that is not sent as it usually is."""
        given = {name: value for name, value in super().identity().items() if name != "base_url"}
        return {**given, "server": server_name(effective_url(self.base_url))}

    def check(self) -> None:
        """Raise Unavailable where the key is missing, UnsafeError where it would travel in clear; nothing is sent."""
        secret_for(effective_url(self.base_url), self.api_key_env)

    def tariff(self) -> tuple[str, str]:
        """Return model and address: a server of one's own costs nothing only where a prices.yaml says so."""
        return self.model, effective_url(self.base_url)

    def greedy(self) -> Self:
        """Return the same teacher unconstrained and at temperature 0, unless the temperature is left to the server."""
        changes: dict[str, Any] = {} if self.temperature is None else {"temperature": 0.0}
        copy = self.model_copy(update={**changes, "structured": False, "batch": False})
        copy._line = None
        return copy

    def estimate(self, request: pillm.Request) -> pillm.Usage:
        """Estimate tokens as characters / 4; the answer as long as `max_tokens` allows, else a guess."""
        asked = sum(len(str(message.get("content") or "")) for message in request.messages)
        return pillm.Usage(prompt_tokens=-(-asked // 4), completion_tokens=self.max_tokens or _GUESSED_ANSWER)

    @contextmanager
    def open(self) -> Iterator[Self]:
        """Keep one client open; raise Unavailable where the key is missing and MissingDependency without `aiohttp`."""
        if self._line is not None:
            yield self
            return
        url = effective_url(self.base_url)
        patience = Patience(timeout=self.timeout, max_wait=self.max_wait, max_retries=self.max_retries, backoff=self.backoff)
        limits = Limits(concurrency=self.concurrency, rpm=self.rpm, tpm=self.tpm)
        try:
            self._line = Line(url, secret_for(url, self.api_key_env), patience, limits, near=is_near(url))
        except ImportError as error:
            raise pillm.MissingDependency(f"teacher 'openai' needs aiohttp ({error}): pip install 'aiohttp>=3.10'") from error
        try:
            yield self
        finally:
            line, self._line = self._line, None
            line.close()

    def answer(self, requests: Iterator[pillm.Request]) -> Iterator[tuple[pillm.Request, pillm.Answer | pillm.Failure]]:
        """Ask at most `concurrency` at once and yield in the order of completion.

        After a failure that makes asking pointless it pulls no more. When the requests are `stopping`, or the iterator is
        closed early, only calls in flight are awaited: nothing is sent again.
        """
        with self.open():
            yield from self._answers(requests)

    def _answers(self, requests: Iterator[pillm.Request]) -> Iterator[tuple[pillm.Request, pillm.Answer | pillm.Failure]]:
        if self._line is None:
            raise RuntimeError("the teacher was closed while it was being asked")
        errand, in_a_row, feeding = Errand(self._line), 0, True
        try:
            while feeding or errand.asked:
                if feeding and errand.room() > 0:
                    request = next(requests, None)
                    if request is None:
                        feeding = False
                    else:
                        errand.post(self._question(request))
                    continue
                if getattr(requests, "stopping", False):
                    feeding = False
                    errand.halt()
                found = errand.take(_LOOK_UP_EVERY)
                if found is None:
                    continue
                request, result = found
                in_a_row = in_a_row + 1 if _is_trouble(result) and not errand.halted.is_set() else 0
                if in_a_row >= _IN_A_ROW and isinstance(result, pillm.Failure):
                    result = _stopping(result, in_a_row)
                    errand.halt()
                feeding = feeding and not (isinstance(result, pillm.Failure) and result.stop)
                yield request, result
        finally:
            errand.close()

    def _question(self, request: pillm.Request) -> Question:
        body, usage = self.body(request), self.estimate(request)
        return Question(
            request=request,
            content=encoded(body),
            tokens=usage.prompt_tokens + usage.completion_tokens,
            tools="tools" in body,
        )

    def batch_mode(self) -> pillm.BatchMode:
        """Return the batch options; OpenAI takes half the price."""
        return pillm.BatchMode(
            active=self.batch,
            size=self.batch_size,
            max_bytes=MAX_FILE,
            at_once=self.batches,
            poll=self.batch_poll,
            wait=self.batch_wait,
            give_up=self.batch_give_up,
            price=Decimal("0.5") if is_openai(effective_url(self.base_url)) else Decimal(1),
        )

    def measure(self, request: pillm.Request) -> int:
        """Return the bytes of a request's line in a batch file."""
        return len(line_of(request.key, self.body(request)))

    def submit(self, requests: Sequence[pillm.Request], name: str) -> str:
        """Send a batch file up and return the batch's id."""
        with self._queue() as queue:
            return queue.submit(((request.key, self.body(request)) for request in requests), name)

    def find(self, name: str) -> str | None:
        """Return the id of the batch that bears a name."""
        with self._queue() as queue:
            return queue.find(name)

    def poll(self, batch: str) -> pillm.BatchStatus:
        """Return where a batch stands."""
        with self._queue() as queue:
            return queue.poll(batch)

    def collect(self, batch: str) -> Iterator[tuple[str, pillm.Answer | pillm.Failure]]:
        """Yield key and result of each line of the batch's output and error files."""
        with self._queue() as queue:
            yield from queue.results(batch)

    def _queue(self) -> Queue:
        url = effective_url(self.base_url)
        try:
            return Queue(url, secret_for(url, self.api_key_env), timeout=self.timeout, near=is_near(url))
        except ImportError as error:
            raise pillm.MissingDependency(f"batches need the package openai ({error}): pip install 'openai>=3'") from error

    def body(self, request: pillm.Request) -> dict[str, Any]:
        """Return the request as it is sent."""
        messages = [{key: message[key] for key in _MESSAGE_KEYS if key in message} for message in request.messages]
        limit = "max_completion_tokens" if is_openai(effective_url(self.base_url)) else "max_tokens"
        schema = request.prompt.schema
        wanted: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "temperature": self.temperature,
            "top_p": self.top_p,
            limit: self.max_tokens,
            "seed": None if self.seed is None else self.seed + request.sample,
            "reasoning_effort": self.reasoning_effort,
            "tools": [tool if "function" in tool else {"type": "function", "function": tool} for tool in request.prompt.tools],
            "logprobs": True if self.logprobs else None,
            "top_logprobs": self.logprobs or None,
        }
        if self.structured and schema is not None:
            wanted["response_format"] = response_format(schema, request.prompt.schema_name, messages)
        return {name: value for name, value in wanted.items() if value not in (None, [], {})} | self.extra_body


def _stopping(failure: pillm.Failure, in_a_row: int) -> pillm.Failure:
    """Return a failure as the one that stops the run: rows that fail one and all are not at fault, so it may pass."""
    kind = "server" if failure.kind == "invalid" else failure.kind
    return pillm.Failure(kind, f"{failure.message}; {in_a_row} failures in a row", stop=True)


def _is_trouble(result: pillm.Answer | pillm.Failure) -> bool:
    return isinstance(result, pillm.Failure) and result.kind != "refused"
