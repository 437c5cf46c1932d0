"""The server that stands for a teacher's: it answers, fails and hangs up as it is told."""

import json
import threading
import time
import urllib.request

import pytest

from pillm.testing import FakeOpenAIServer, Reply, completion


def ask(server, text="bonjour"):
    body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
    request = urllib.request.Request(f"{server.base_url}/chat/completions", body, {"Authorization": "Bearer k"})
    with urllib.request.urlopen(request, timeout=5) as response:
        return json.load(response)


def ask_in_vain(server):
    with pytest.raises(OSError, match=r"."):
        ask(server)


def test_the_server_shouts_unless_it_has_a_script():
    with FakeOpenAIServer([Reply.text("premier"), Reply(body=completion("second"))]) as server:
        said = [ask(server)["choices"][0]["message"]["content"] for _ in range(3)]
    assert said == ["premier", "second", "BONJOUR"]
    assert server.calls[0].headers["authorization"] == "Bearer k"
    assert server.calls[0].path == "/v1/chat/completions"


def test_the_server_counts_how_many_it_serves_at_once():
    with FakeOpenAIServer(respond=lambda call: Reply.text("a", delay=0.5)) as server:
        threads = [threading.Thread(target=ask, args=(server,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert server.most_at_once == 3


def test_the_server_fails_and_hangs_up_as_told():
    replies = [Reply.error(429, "slow down", code="rate", retry_after="2"), Reply(dropped=True)]
    with FakeOpenAIServer(replies) as server:
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(server)
        caught.value.close()
        with pytest.raises(OSError, match=r"."):
            ask(server)
    assert (caught.value.code, caught.value.headers["Retry-After"]) == (429, "2")


def test_the_server_closes_at_once_while_it_is_thinking():
    with FakeOpenAIServer(respond=lambda call: Reply.text("a", delay=60)) as server:
        caller = threading.Thread(target=ask_in_vain, args=(server,))
        caller.start()
        while not server.calls:
            time.sleep(0.01)
        began = time.monotonic()
    assert time.monotonic() - began < 20
    caller.join(5)
