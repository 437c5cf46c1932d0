"""A line to the server: one client, its retries, and the pace that the server asks for."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pillm
from pillm_openai.faults import Fault, fault_of_status, without
from pillm_openai.reading import answer_of

MAX_BODY = 32 * 1024 * 1024
LONGEST_BACKOFF = 30.0
_DICE = random.SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait, and how often to try: seconds, seconds, retries, seconds of the first back-off."""

    timeout: float
    max_wait: float
    max_retries: int
    backoff: float


class Line:
    """An open connection to one server; safe to use from several threads."""

    def __init__(self, base_url: str, secret: str, patience: Patience, *, near: bool) -> None:
        import openai

        self._patience = patience
        self._secret = secret
        self._pace = Pace(patience.backoff)
        self._openai = openai
        http = openai.DefaultHttpxClient(
            timeout=patience.timeout,
            follow_redirects=False,
            trust_env=not near,  # a proxy has no business between here and this network
            event_hooks={"response": [self._received]},
        )
        self._client = openai.OpenAI(
            api_key=secret or "none", base_url=base_url, max_retries=0, timeout=patience.timeout, http_client=http
        )
        self._create = self._client.chat.completions.with_streaming_response.create

    def __repr__(self) -> str:
        return f"Line({urlsplit(str(self._client.base_url)).netloc})"

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def ask(self, body: dict[str, Any], stop: threading.Event) -> pillm.Answer | pillm.Failure:
        """Send one request until it is answered or asking again is of no use; once `stop` is set nothing more is sent."""
        attempt, last = 0, Fault("network", "it was never sent")
        while True:
            self._pace.wait(stop)
            if stop.is_set():  # what kept the last try from an answer may pass, or there would be no other try
                return Fault(last.kind, f"{last.message}; the run was stopped").failure(attempt, self._secret)
            attempt += 1
            try:
                return self._send(body, attempt)
            except Fault as fault:
                if not fault.retry or attempt > self._patience.max_retries:
                    return fault.failure(attempt, self._secret)
                if fault.wait is not None and fault.wait > self._patience.max_wait:
                    text = f"{fault.message}; it asks to wait {fault.wait:.0f} s, longer than max_wait"
                    return Fault(fault.kind, text, stop=True).failure(attempt, self._secret)
                if fault.wait:
                    self._pace.hold(fault.wait)
                # also where the server asks to wait 0 s, or until a date that is past: it gave no answer after all
                stop.wait(_DICE.uniform(0, min(LONGEST_BACKOFF, self._patience.backoff * 2**attempt)))
                last = fault

    def _send(self, body: dict[str, Any], attempt: int) -> pillm.Answer:
        began = time.monotonic()
        try:
            with self._create(**body) as response:
                received: bytes = response.http_response.extensions["pillm_body"]
        except self._openai.APITimeoutError as error:
            raise Fault("network", f"no answer within {self._patience.timeout:g} s", retry=True) from error
        except self._openai.APIConnectionError as error:
            reason = without(self._secret, str(error.__cause__ or error))
            nobody = type(error.__cause__).__name__ == "ConnectError"  # nobody listens: the next row would not fare better
            what = "the server cannot be reached" if nobody else "the connection broke"
            raise Fault("network", f"{what} ({reason})", retry=True, stop=nobody) from error
        except self._openai.OpenAIError as error:
            raise Fault("server", without(self._secret, f"{type(error).__name__}: {error}"), retry=True) from error
        timings = {"seconds": time.monotonic() - began, "attempts": float(attempt)}
        return answer_of(received, timings, tools="tools" in body)

    def _received(self, response: Any) -> None:
        """Read a response as it arrives, within bounds of size and time, before the client looks at it."""
        began, parts, size = time.monotonic(), [], 0
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > MAX_BODY:
                raise Fault("server", f"the response is longer than {MAX_BODY // 2**20} MiB")
            if time.monotonic() - began > self._patience.timeout:
                raise Fault("network", f"the response was not complete within {self._patience.timeout:g} s", retry=True)
        body = b"".join(parts)
        if response.status_code >= 300:
            raise fault_of_status(response.status_code, response.headers, body)
        response.extensions["pillm_body"] = body


class Pace:
    """When the next request may leave: a server that said "wait" to one caller is obeyed by all."""

    def __init__(self, spread: float) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self._spread = spread

    def hold(self, seconds: float) -> None:
        """Let nothing leave for that long."""
        with self._lock:
            self._until = max(self._until, time.monotonic() + seconds)

    def wait(self, stop: threading.Event) -> None:
        """Wait until a request may leave, or until `stop`; those that were held leave a little apart."""
        while (left := self._until - time.monotonic()) > 0:
            if stop.wait(left + _DICE.uniform(0, self._spread)):
                return
