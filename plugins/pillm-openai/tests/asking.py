"""What the tests of the teacher share: a teacher told of a server in this process, and what it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pillm_openai import OpenAI

import pillm
from pillm.contract import Contract
from pillm.testing import FakeOpenAIServer

SECRET = "sk-secret-0123456789"


def teacher(server: FakeOpenAIServer, **options: Any) -> OpenAI:
    return OpenAI(**{"model": "m", "base_url": server.base_url, "backoff": 0.0, "timeout": 10, **options})


def requests(count: int = 1, **fields: Any) -> Iterator[pillm.Request]:
    for number in range(count):
        prompt = pillm.Prompt(id=f"r{number}", messages=({"role": "user", "content": f"ça {number}"},), **fields)
        yield Contract().request(prompt, {}, 0)


def one(server: FakeOpenAIServer, **options: Any) -> pillm.Answer | pillm.Failure:
    [(_, result)] = teacher(server, **options).answer(requests())
    return result
