"""One request to the server and its response, read as it arrives within bounds of size and time."""

from __future__ import annotations

import asyncio
import math
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

from pillm_openai.faults import Fault, fault_of_status, without

MAX_BODY = 32 * 1024 * 1024
LONGEST_SILENCE = 60.0
"""Seconds that a server which has begun to answer may say nothing."""
LONGEST_CONNECT = 30.0

Heard = Callable[[int, Mapping[str, str]], None]


class Wire:
    """The SDK's client over its aiohttp transport; every method runs on the event loop that `post` is first used on.

    Its HTTP client is used directly: building and checking objects that are thrown away costs the SDK three times what
    the exchange does.
    """

    def __init__(self, base_url: str, secret: str, *, timeout: float, near: bool, most: int) -> None:
        import aiohttp
        import httpx2
        import openai

        self._secret, self._timeout = secret, timeout
        self._passwords = () if near else _proxy_passwords()
        self._nobody: type[Exception] = aiohttp.ClientConnectorError
        self._broken = (httpx2.HTTPError, httpx2.InvalidURL, aiohttp.ClientError, OSError, ValueError)
        self._http = openai.DefaultAioHttpClient(
            # the total time is kept here; a transport of its own would only count it twice
            timeout=httpx2.Timeout(None, connect=min(timeout, LONGEST_CONNECT)),
            limits=httpx2.Limits(max_connections=most, max_keepalive_connections=most),
            follow_redirects=False,
            trust_env=not near,  # a proxy has no business between here and this network
        )
        self._client = openai.AsyncOpenAI(api_key=secret or "none", base_url=base_url, max_retries=0, http_client=self._http)
        headers = {**self._client.default_headers, **self._client.auth_headers, "Accept-Encoding": "gzip"}
        self._http.headers.update(
            {
                name: value
                for name, value in headers.items()
                if isinstance(value, str)
                and not name.lower().startswith("x-stainless")  # what machine this is concerns no server
            }
        )
        self._url = httpx2.URL(f"{str(self._client.base_url).rstrip('/')}/chat/completions")

    def __repr__(self) -> str:
        return f"Wire({self._url.netloc.decode()})"

    async def close(self) -> None:
        """Hang up."""
        await self._client.close()

    async def post(self, content: bytes, heard: Heard) -> bytes:
        """Return the body of a 2xx response; raise Fault. `heard` is told status and headers before the body is read."""
        began, status = asyncio.get_running_loop().time(), 0

        def note(code: int, headers: Mapping[str, str]) -> None:
            nonlocal status
            status = code
            heard(code, headers)

        try:
            async with asyncio.timeout(self._timeout) as limit:
                return await self._exchange(content, note, limit)
        except self._broken as error:  # TimeoutError is an OSError
            raise self._fault(error, asyncio.get_running_loop().time() - began, begun=bool(status)) from error

    async def _exchange(self, content: bytes, heard: Heard, limit: asyncio.Timeout) -> bytes:
        response = await self._http.send(self._http.build_request("POST", self._url, content=content), stream=True)
        try:
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers.raw}
            heard(response.status_code, headers)
            body = await _read(response.aiter_raw(), headers, limit)
        except BaseException:
            with suppress(TimeoutError):
                async with asyncio.timeout(1):  # what was not read to its end is not read on: the connection is closed
                    await response.aclose()
            raise
        if response.status_code >= 300:
            raise fault_of_status(response.status_code, headers, body)
        return body

    def _fault(self, error: Exception, seconds: float, *, begun: bool) -> Fault:
        """Return what a broken exchange means."""
        cause = error.__cause__ or error
        if isinstance(error, TimeoutError) or isinstance(cause, TimeoutError):
            if begun and seconds < self._timeout:
                return Fault("network", f"the response stopped for {LONGEST_SILENCE:g} s", retry=True)
            if begun:
                return Fault("network", f"the response was not complete within {self._timeout:g} s", retry=True)
            if seconds < self._timeout:
                return Fault("network", f"the server took no connection within {seconds:.0f} s", retry=True, stop=True)
            return Fault("network", f"no answer within {self._timeout:g} s", retry=True)
        reason = str(cause) or type(cause).__name__
        for secret in (self._secret, *self._passwords):
            reason = without(secret, reason)
        nobody = isinstance(cause, self._nobody)  # nobody listens: the next row would not fare better
        what = "the server cannot be reached" if nobody else "the connection broke"
        return Fault("network", f"{what} ({reason})", retry=True, stop=nobody)


def _proxy_passwords() -> tuple[str, ...]:
    """Return the passwords in the addresses of this environment's proxies: a proxy may repeat its own."""
    parts = (urlsplit(address) for address in getproxies().values())
    return tuple(unquote(part.password) for part in parts if part.password)


async def _read(parts: AsyncIterator[bytes], headers: Mapping[str, str], limit: asyncio.Timeout) -> bytes:
    """Return the whole body, unpacked; raise Fault where it is longer than a body may be."""
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > MAX_BODY:
        raise _too_long()
    clock, end = asyncio.get_running_loop().time, limit.when() or math.inf
    unpack = _unpacking(headers.get("content-encoding", "").strip().casefold())
    pieces, size, received = [], 0, 0
    limit.reschedule(min(end, clock() + LONGEST_SILENCE))
    async for part in parts:
        piece = unpack(part, MAX_BODY - size + 1) if unpack else part
        pieces.append(piece)
        size, received = size + len(piece), received + len(part)
        if max(size, received) > MAX_BODY:
            raise _too_long()
        limit.reschedule(min(end, clock() + LONGEST_SILENCE))
    return b"".join(pieces)


def _unpacking(encoding: str) -> Callable[[bytes, int], bytes] | None:
    """Return a function that unpacks at most so many bytes of the next part, so that a small part cannot become a big one."""
    if encoding in ("", "identity"):
        return None
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Fault("server", f"the server answered in an encoding that nobody asked for ({encoding[:20]})", retry=True)
    stream = zlib.decompressobj(wbits=47)  # 32 + 15: gzip and zlib alike

    def unpack(part: bytes, most: int) -> bytes:
        try:
            return stream.decompress(part, most)
        except zlib.error as error:
            raise Fault("server", f"the server's compressed answer is broken ({error})", retry=True) from error

    return unpack


def _too_long() -> Fault:
    return Fault("server", f"the response is longer than {MAX_BODY // 2**20} MiB")
