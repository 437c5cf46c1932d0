"""What a caller gets from a real llama-server that was deployed: what was scored, after the system message of training."""

from __future__ import annotations

import json
import shutil
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import pillm
from pillm.contract import Contract
from pillm.testing import LoopbackBoard, missing_for_board
from tests.deploys import free_port
from tests.programs import llama_server

ROOT = Path(__file__).parents[1]
USER = {"role": "user", "content": "turn on the light in the kitchen"}
SYSTEM = 'Answer with "one" call,\nnothing else.'


def asked(port: int, path: str, body: Any = None) -> Any:
    text = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", text, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.loads(reply.read())


@pytest.mark.full
def test_a_request_that_says_nothing_gets_what_was_scored(tmp_path: Path) -> None:
    if lacking := missing_for_board():
        pytest.skip(lacking)
    model = tmp_path / "tiny-Q8_0.gguf"
    shutil.copyfile(ROOT / "rpi4" / "selftest" / "tiny.gguf", model)
    Contract(system=SYSTEM).save(tmp_path / "contract.json")
    port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="b") as folder,
        LoopbackBoard(Path(folder) / "b") as board,
        board.remote() as remote,
    ):
        bundle = pillm.bundle_of(model)
        done = pillm.deploy(bundle, remote, pillm.Service(port=port, server=llama_server(), context=512, threads=1, predict=24))
        assert (done.state, done.profile["system"], done.profile["temperature"]) == ("deployed", True, 0.0)
        bare = asked(port, "/apply-template", {"messages": [USER]})["prompt"]
        assert bare == asked(port, "/apply-template", {"messages": [{"role": "system", "content": SYSTEM}, USER]})["prompt"]
        assert SYSTEM in bare
        replies = [asked(port, "/v1/chat/completions", {"messages": [USER]}) for _ in range(5)]
        assert {reply["usage"]["completion_tokens"] <= 24 for reply in replies} == {True}
        said = {reply["choices"][0]["message"]["content"] for reply in replies}
        greedy = {"messages": [{"role": "system", "content": SYSTEM}, USER], "max_tokens": 24, "temperature": 0}
        assert said == {asked(port, "/v1/chat/completions", greedy)["choices"][0]["message"]["content"]}
        props = asked(port, "/props")
        assert props["model_path"].startswith(bundle.model.sha256[:16]), "what runner `server` takes as proof"
        assert asked(port, "/v1/models")["data"][0]["id"] == "tiny-Q8_0.gguf"
