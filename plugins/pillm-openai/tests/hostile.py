"""A server that does its worst: real sockets on 127.0.0.1, one event loop, and a ledger of what it saw."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from pillm_openai.pace import Pace
from pillm_openai.wire import Wire

from pillm.testing import completion


@dataclass(frozen=True, slots=True)
class Trick:
    """What to do to one request: a name, and seconds to think or to ask for."""

    name: str
    seconds: float = 0.0
    header: str = ""


@dataclass(slots=True)
class Ledger:
    """What a server saw."""

    calls: int = 0
    successes: Counter[str] = field(default_factory=Counter)
    tricks: Counter[str] = field(default_factory=Counter)
    inside_a_pause: int = 0
    most_at_once: int = 0


class Watch:
    """When the client learnt of each pause and when each text last left: what was on its way by then broke no pause."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: dict[str, float] = {}
        self.heard: list[float] = []
        hold, post = Pace.hold, Wire.post

        def held(pace: Pace, seconds: float) -> None:
            self.heard.append(time.monotonic())
            hold(pace, seconds)

        def posted(wire: Wire, content: bytes, heard: Any) -> Any:
            self.left[text_of(content)] = time.monotonic()
            return post(wire, content, heard)

        monkeypatch.setattr(Pace, "hold", held)
        monkeypatch.setattr(Wire, "post", posted)

    def knew(self, text: str, pause_began: float) -> bool:
        """Say whether a text left after the client had heard of a pause."""
        return any(pause_began <= heard < self.left[text] for heard in self.heard)


def text_of(content: bytes) -> str:
    return str(json.loads(content)["messages"][-1]["content"])


class Hostile:
    """A server that asks `choose(number of the call, its text)` what to do; a context manager."""

    def __init__(self, choose: Callable[[int, str], Trick], *, delay: float = 0.0, watch: Watch | None = None) -> None:
        self.ledger, self.written = Ledger(), 0
        self._choose, self._delay, self._watch = choose, delay, watch
        self._inside, self._pause = 0, (0.0, 0.0)
        self._loop, self._ready, self._port = asyncio.new_event_loop(), threading.Event(), 0
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def __enter__(self) -> Hostile:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        self._port = site._server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._closing.wait()
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        now, said = time.monotonic(), self.ledger
        text = text_of(await request.read())
        if self._watch and self._pause[0] < now < self._pause[1] and self._watch.knew(text, self._pause[0]):
            said.inside_a_pause += 1
        trick = self._choose(said.calls, text)
        said.calls += 1
        said.tricks[trick.name] += 1
        self._inside += 1
        said.most_at_once = max(said.most_at_once, self._inside)
        try:
            await asyncio.sleep(self._delay)
            return await self._play(trick, request, text)
        finally:
            self._inside -= 1

    async def _play(self, trick: Trick, request: web.Request, text: str) -> web.StreamResponse:
        if trick.name == "answers":
            self.ledger.successes[text] += 1
            return web.json_response(completion(text.upper()))
        if trick.name == "length":
            self.ledger.successes[text] += 1
            return web.json_response(completion(text.upper(), finish_reason="length"))
        if trick.name == "refuses":
            return self._refused(trick)
        if trick.name in _STATUSES:
            return web.json_response({"error": {"message": trick.name, "code": trick.name}}, status=_STATUSES[trick.name])
        if trick.name in _BODIES:
            return web.Response(body=_BODIES[trick.name], content_type="application/json")
        if trick.name == "redirects":
            return web.Response(status=307, headers={"Location": "http://127.0.0.1:9/v1/chat/completions"})
        if trick.name in ("hangs", "drops"):
            until = time.monotonic() + (trick.seconds if trick.name == "hangs" else 0)
            while time.monotonic() < until and request.transport and not self._closing.is_set():
                await asyncio.sleep(0.01)
            if request.transport:
                request.transport.close()
            return web.Response()
        return await self._stream(trick.name, request, text)

    def _refused(self, trick: Trick) -> web.Response:
        headers = {}
        if trick.seconds:
            if trick.header == "retry-after-ms":
                headers[trick.header] = str(round(trick.seconds * 1000))
            else:
                headers["Retry-After"] = f"{trick.seconds:.3f}"
            now = time.monotonic()
            start = now if now >= self._pause[1] else self._pause[0]
            self._pause = (start, max(self._pause[1], now + trick.seconds))
        return web.json_response({"error": {"message": "slow down", "code": "rate_limit"}}, status=429, headers=headers)

    async def _stream(self, name: str, request: web.Request, text: str) -> web.StreamResponse:
        """Begin an answer, and do not end it as an answer ends."""
        body = json.dumps(completion(text)).encode()
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        if name == "huge":
            response.content_length = 50 * 2**20
        elif name != "huge unannounced":
            response.content_length = len(body) + 1000
        await response.prepare(request)
        if name.startswith("huge"):
            with suppress(ConnectionError):
                for _ in range(50):
                    await response.write(b" " * 2**20)
                    self.written += 2**20
        elif name == "cut":
            await response.write(body[:40])
            request.transport.close()
        else:  # stalls, drips
            with suppress(ConnectionError):
                await response.write(body[:40])
                while not self._closing.is_set():
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._closing.wait(), 0.05)
                    if name == "drips":
                        await response.write(b" ")
                    elif request.transport is None or request.transport.is_closing():
                        break
        return response


_STATUSES = {"fails": 500, "overloaded": 503, "bad gateway": 502, "insufficient_quota": 429, "invalid_api_key": 401}
_BODIES = {
    "breaks": b'{"choices": [{"message": {"content": "half a',
    "errs": b'{"error": {"message": "upstream is down", "code": 503}}',
    "null choices": b'{"choices": null}',
    "null content": b'{"choices": [{"message": {"role": "assistant", "content": null}, "finish_reason": "stop"}]}',
}
