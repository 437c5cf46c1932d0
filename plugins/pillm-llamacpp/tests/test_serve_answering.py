"""What pillm-serve gives to callers that send no system message, and how it waits: with this machine's own llama-server too."""

from __future__ import annotations

import http.server
import json
import shutil
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from gguf import GGUFReader
from pillm_llamacpp_boardtools import RPI4, Board
from pillm_llamacpp_headers import with_keys
from pillm_llamacpp_llamatools import tool

TINY = RPI4 / "selftest" / "tiny.gguf"


def test_a_caller_that_sends_no_system_message_gets_the_one_of_the_training(served: Board) -> None:
    model = served.root / "var" / "lib" / "pillm" / "models" / "assistant.gguf"
    keys = {"pillm.contract": "c", "pillm.asked": "after pillm.system", "pillm.system": 'Dis "oui" \\o/.\n'}
    with_keys(TINY, model, **keys)
    said = served.run("serve.sh", "assistant")
    template = GGUFReader(TINY).fields["tokenizer.chat_template"].contents()
    first = "messages and messages[0]['role'] in ['system', 'developer']"
    told = f"{{% set messages = messages if {first} else "
    told += "[{'role': 'system', 'content': \"Dis \\\"oui\\\" \\\\o/.\n\"}] + messages %}"
    assert f"--chat-template\n{told}{template}\n--metrics\n" in said.stdout
    assert "asks with the one that the model was trained under, from the file itself" in said.stderr
    (served.root / "etc" / "pillm" / "serve.d" / "assistant.env").write_text("PILLM_SYSTEM=none\n")
    assert "--chat-template" not in served.run("serve.sh", "assistant").stdout


@pytest.mark.full
def test_the_real_server_puts_the_system_message_there_and_leaves_others_alone(served: Board) -> None:
    system = 'Dis "oui" \\o/ {{ x }} %}.\n'
    with_keys(TINY, served.root / "var" / "lib" / "pillm" / "models" / "assistant.gguf",
              **{"pillm.contract": "c", "pillm.asked": "after pillm.system", "pillm.system": system})  # fmt: skip
    (served.programs / "bin" / "llama-server").unlink()
    (served.programs / "bin" / "llama-server").symlink_to(tool("llama-server"))
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = str(one.getsockname()[1])
    told = {"HOME": str(served.home), "PATH": f"{served.bin}:/usr/bin:/bin", "PILLM_ROOT": str(served.root), "PILLM_PORT": port}
    (served.root / "proc" / "net").symlink_to("/proc/net")
    with subprocess.Popen(
        [str(RPI4 / "serve.sh"), "assistant"], env=told, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as run:
        try:
            served.run("serve.sh", "--wait", "assistant", PILLM_PORT=port, PILLM_WAIT="60")
            user = {"role": "user", "content": "a"}
            for messages in (
                [user],
                [{"role": "system", "content": system}, user],
                [{"role": "system", "content": "mine"}, user],
            ):
                request = urllib.request.Request(
                    f"http://127.0.0.1:{port}/apply-template", json.dumps({"messages": messages}).encode()
                )
                with urllib.request.urlopen(request, timeout=20) as reply:
                    prompt = json.load(reply)["prompt"]
                assert prompt.startswith(f"<|im_start|>system\n{'mine' if 'mine' in str(messages) else system}<|im_end|>")
                assert prompt.count("system") == 1
            assert "assistant answers on port" in served.run("serve.sh", "--check", "assistant", PILLM_PORT=port).stderr
            models = served.root / "var" / "lib" / "pillm" / "models"
            shutil.copyfile(TINY, models / "other.gguf")
            assert "is taken by another program" in served.run("serve.sh", "--check", "other", PILLM_PORT=port, expect=1).stderr
            assert "is not other" in served.run("serve.sh", "--wait", "other", PILLM_PORT=port, expect=1).stderr
        finally:
            run.terminate()


class _Loading(http.server.BaseHTTPRequestHandler):
    """Answers 503 twice, as llama-server does while it reads the file, then 200; it tells its name to who has the key."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        ready = self.asked > 2 and (self.path == "/health" or self.headers["Authorization"] == 'Bearer k"ey')
        body = b'{"data": [{"id": "assistant", "object": "model"}]}'
        self.send_response(200 if ready else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def loading() -> Iterator[int]:
    handler = type("Loading", (_Loading,), {"asked": 0})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_waiting_ends_once_the_model_is_read_and_is_the_one_of_that_name(served: Board, loading: int) -> None:
    (served.home / "key").write_text('k"ey\n')
    told = {"PILLM_PORT": str(loading), "PILLM_WAIT": "20", "http_proxy": "http://127.0.0.1:9"}
    served.run("serve.sh", "--wait", "assistant", PILLM_KEY_FILE="key", **told)
    assert "is not other" in served.run("serve.sh", "--wait", "other", PILLM_KEY_FILE="key", expect=1, **told).stderr
    assert "or the key is another" in served.run("serve.sh", "--wait", "assistant", expect=1, **told).stderr


def test_waiting_has_a_limit(served: Board, tmp_path: Path) -> None:
    said = served.run("serve.sh", "--wait", "assistant", PILLM_PORT="9", PILLM_WAIT="1", expect=1).stderr
    assert "did not answer on http://127.0.0.1:9/health within 1 s" in said
