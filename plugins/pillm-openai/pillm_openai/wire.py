"""One request to the server and its response, read as it arrives within bounds of size and time."""

from __future__ import annotations

import asyncio
import math
import os
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from pillm_openai.address import is_openai
from pillm_openai.faults import Fault, fault_of_status, without

if TYPE_CHECKING:
    import aiohttp

MAX_BODY = 32 * 1024 * 1024
LONGEST_SILENCE = 60.0
"""Seconds that a server which has begun to answer may say nothing."""
LONGEST_CONNECT = 30.0

Heard = Callable[[int, Mapping[str, str]], None]


class Wire:
    """aiohttp's client to one server; every method runs on the event loop that `post` is first used on.

    The SDK is not between here and there: building and checking objects that are thrown away costs it three times what the
    exchange does.
    """

    def __init__(self, base_url: str, secret: str, *, timeout: float, near: bool, most: int) -> None:
        import aiohttp

        self._aiohttp, self._session = aiohttp, None
        self._secret, self._timeout, self._most = secret, timeout, most
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._proxy = None if near else proxy_for(base_url)  # a proxy has no business between here and this network
        self._passwords = () if near else _proxy_passwords()
        self._nobody: type[Exception] = aiohttp.ClientConnectorError
        self._broken = (aiohttp.ClientError, OSError, ValueError)
        self._headers = headers_for(base_url, secret)

    _session: aiohttp.ClientSession | None

    def __repr__(self) -> str:
        return f"Wire({urlsplit(self._url).netloc})"

    async def close(self) -> None:
        """Hang up."""
        if self._session:
            await self._session.close()

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
        session = self._session = self._session or self._opened()
        response = await session.post(self._url, data=content, proxy=self._proxy, allow_redirects=False)
        try:
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.raw_headers}
            heard(response.status, headers)
            body = await _read(response.content.iter_any(), headers, limit)
        except BaseException:
            response.close()  # what was not read to its end is not read on: the connection is closed
            raise
        if response.status >= 300:
            raise fault_of_status(response.status, headers, body)
        return body

    def _opened(self) -> aiohttp.ClientSession:
        """Return a session on the running loop; what a server wants remembered (cookies) is not."""
        aiohttp = self._aiohttp
        return aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(limit=self._most, ssl=_trusted() if self._url.startswith("https") else True),
            cookie_jar=aiohttp.DummyCookieJar(),
            # the total time is kept here; a second clock would only count it twice
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(self._timeout, LONGEST_CONNECT)),
            auto_decompress=False,
        )

    def _fault(self, error: Exception, seconds: float, *, begun: bool) -> Fault:
        """Return what a broken exchange means."""
        if isinstance(error, TimeoutError):
            if begun and seconds < self._timeout:
                return Fault("network", f"the response stopped for {LONGEST_SILENCE:g} s", retry=True)
            if begun:
                return Fault("network", f"the response was not complete within {self._timeout:g} s", retry=True)
            if seconds < self._timeout:
                return Fault("network", f"the server took no connection within {seconds:.0f} s", retry=True, stop=True)
            return Fault("network", f"no answer within {self._timeout:g} s", retry=True)
        reason = str(error) or type(error).__name__
        for secret in (self._secret, *self._passwords):
            reason = without(secret, reason)
        nobody = isinstance(error, self._nobody)  # nobody listens: the next row would not fare better
        what = "the server cannot be reached" if nobody else "the connection broke"
        return Fault("network", f"{what} ({reason})", retry=True, stop=nobody)


def headers_for(base_url: str, secret: str) -> dict[str, str]:
    """Return what every request says beside its body; nothing tells what machine this is."""
    told = {
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
        "Authorization": f"Bearer {secret or 'none'}",
        "Content-Type": "application/json",
        "User-Agent": "pillm",
    }
    if is_openai(base_url):  # as OpenAI's own client does
        for name in ("Organization", "Project"):
            if value := os.environ.get({"Organization": "OPENAI_ORG_ID", "Project": "OPENAI_PROJECT_ID"}[name]):
                told[f"OpenAI-{name}"] = value
    return told


def proxy_for(url: str) -> str | None:
    """Return the address of the proxy that this environment names for an address."""
    parts, proxies = urlsplit(url), getproxies()
    if proxy_bypass(parts.hostname or ""):
        return None
    return proxies.get(parts.scheme) or proxies.get("all")


def _trusted() -> ssl.SSLContext:
    """Return a context that trusts what this machine trusts, and certifi's list where it has none of its own."""
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


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
