"""Going back: the release before answers again, under the API key that callers show now."""

from __future__ import annotations

import http.client
import json
from pathlib import Path

import pytest

import pillm
from pillm.deployment.keys import with_key
from tests.deploys import HELLO, Answers, Field, a_field, bundle

KEY = "a-key-0123456789"


def status(port: int, key: str | None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    connection.request("POST", "/v1/chat/completions", json.dumps({"messages": HELLO}), headers)
    reply = connection.getresponse()
    said = reply.read().decode()
    connection.close()
    return reply.status, said


@pytest.mark.full
def test_the_key_that_callers_show_stays_and_a_dry_run_goes_nowhere(served: Field, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    service = pillm.Service(port=served.port, server=served.server, wait=20, api_key_file=tmp_path / "key")
    with served.board.remote() as remote:
        done = pillm.deploy(bundle(served.new, "new"), remote, service)
        planned = pillm.roll_back(remote, dry_run=True)
        assert planned.state == "planned"
        assert "the API key that callers show now stays: the release before asked for none" in planned.notes
        assert "new" in status(served.port, KEY)[1]
        back = pillm.roll_back(remote)
        assert (back.state, back.release, back.model) == ("rolled back", planned.release, "old.gguf")
        assert back.release not in (done.previous, done.release), "the release before, but for its key"
    assert status(served.port, None)[0] == 401, "a rollback opens nothing"
    code, said = status(served.port, KEY)
    assert code == 200
    assert "old" in said


@pytest.mark.full
def test_going_forward_again_and_without_a_key(served: Field) -> None:
    with a_field() as other, other.board.remote() as remote:
        other.deploy(1)
        assert pillm.roll_back(remote).model == "old.gguf"
        assert pillm.roll_back(remote).model == "new.gguf"
        assert Answers(other.port).once() == "new"


def test_a_command_line_gets_another_key_or_none() -> None:
    words = ["llama-server", "--api-key-file", "../../keys/0", "--metrics"]
    assert with_key(words, ["--api-key-file", "../../keys/1"]) == [
        "llama-server",
        "--metrics",
        "--api-key-file",
        "../../keys/1",
    ]
    assert with_key(words, []) == ["llama-server", "--metrics"]
    assert with_key(["llama-server"], []) == ["llama-server"]
