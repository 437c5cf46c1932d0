"""An OpenAI-compatible server for benchmarks, in a process of its own: it answers at once, or after a latency of its plan.

python server.py LATENCY REFUSED    LATENCY: seconds, or mean:cv of a log-normal; REFUSED: the share of 429

It prints its port, then waits for its standard input to close. `GET /` says how many calls came and how many were in flight.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import sys

SEED = 7
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "loopback",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Le train pour Québec part à onze heures quarante-cinq, voie trois."},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 24, "completion_tokens": 16, "total_tokens": 40},
}


def response(status: str, body: dict[str, object]) -> bytes:
    """Return a whole HTTP response."""
    content = json.dumps(body, ensure_ascii=False).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


ANSWERED = response("200 OK", ANSWER)
REFUSED = response("429 Too Many Requests", {"error": {"message": "slow down", "type": "rate_limit", "code": "rate_limit"}})


class Plan:
    """How long each call takes and which are refused, and the counts of what came; the same in every run."""

    def __init__(self, latency: str, refused: float) -> None:
        mean, _, cv = latency.partition(":")
        self.mean, self.refused, self.dice = float(mean), refused, random.Random(SEED)
        self.spread = math.sqrt(math.log(1 + float(cv) ** 2)) if cv else 0.0
        self.calls = self.inside = self.most = self.answered = 0

    def seconds(self) -> float:
        """Return the latency of the next call."""
        if not self.spread:
            return self.mean
        return self.dice.lognormvariate(math.log(self.mean) - self.spread**2 / 2, self.spread)


class Connection(asyncio.Protocol):
    """One client's connection; it may send a request before the last one is answered, which no client here does."""

    def __init__(self, plan: Plan, loop: asyncio.AbstractEventLoop) -> None:
        self.plan, self.loop, self.buffer = plan, loop, b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        if isinstance(transport, asyncio.Transport):
            self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Take every whole request out of what came."""
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            _, _, after = head.partition(b"content-length:")
            whole = end + 4 + int(after.split(b"\r\n", 1)[0] or 0)
            if len(self.buffer) < whole:
                return
            self.buffer = self.buffer[whole:]
            self.asked(post=head.startswith(b"post"))

    def asked(self, *, post: bool) -> None:
        """Answer now or later."""
        plan = self.plan
        if not post:
            counts = {"calls": plan.calls, "answered": plan.answered, "most": plan.most}
            plan.calls = plan.answered = plan.most = 0
            self.write(response("200 OK", counts))
            return
        plan.calls, plan.inside = plan.calls + 1, plan.inside + 1
        plan.most = max(plan.most, plan.inside)
        if plan.refused and plan.dice.random() < plan.refused:
            self.loop.call_later(0.01, self.end, REFUSED)
        elif plan.mean:
            self.loop.call_later(plan.seconds(), self.end, ANSWERED)
        else:
            self.end(ANSWERED)

    def end(self, content: bytes) -> None:
        """Answer."""
        self.plan.inside -= 1
        self.plan.answered += content is ANSWERED
        self.write(content)

    def write(self, content: bytes) -> None:
        """Send bytes, unless the client is gone."""
        if self.transport and not self.transport.is_closing():
            self.transport.write(content)


async def serve(plan: Plan) -> None:
    """Answer until the standard input is closed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(plan, loop), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(Plan(sys.argv[1], float(sys.argv[2]))))
