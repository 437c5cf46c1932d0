from __future__ import annotations

import json
import logging
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pillm_openai.runner import ServerRunner
from pillm_openai_natives import Told, file, listing

import pillm
from pillm.testing import check_runner, completion

ROOT = Path(__file__).parents[3]
MODEL = ROOT / "rpi4" / "selftest" / "tiny.gguf"


def ask(runner: pillm.Runner, model: pillm.ModelFile, *texts: str, **prompt: Any) -> list[pillm.Answer | pillm.Failure]:
    rows = [
        pillm.Prompt(id=str(number), messages=({"role": "user", "content": text},), **prompt)
        for number, text in enumerate(texts)
    ]
    with runner.open(model) as session:
        said = {
            asked.prompt.id: found for asked, found in session.answer(iter(pillm.Contract().request(row, {}) for row in rows))
        }
    return [said[str(number)] for number in range(len(texts))]


def complete(body: Any) -> Any:
    return completion(body["messages"][-1]["content"].upper())


def test_it_answers_greedily_and_says_what_cannot_be_proved(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = file(tmp_path)
    with Told(v1__models=listing("m"), v1__chat__completions=complete) as server:
        with caplog.at_level(logging.WARNING, "pillm.openai"):
            (said,) = ask(ServerRunner(base_url=server.url), model, "hello", schema={"type": "object"})
        assert isinstance(said, pillm.Answer)
        assert said.content == "HELLO"
        assert "does not tell which file it serves: scores and speeds are its own word for student.gguf" in caplog.text
        (sent,) = [body for path, body in server.asked if path.endswith("completions")]
        assert (sent["temperature"], sent["max_tokens"], sent["model"], "response_format" in sent) == (0.0, 256, "m", False)
        ask(ServerRunner(base_url=server.url, constrain=True), model, "hello", schema={"type": "object"})
        assert "response_format" in server.asked[-1][1]
        with pytest.raises(pillm.BackendError, match="prove=true asks for a proof"):
            ServerRunner(base_url=server.url, prove=True).open(model)


def test_what_is_wrong_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(pillm.ConfigError, match="is a model folder"):
        ServerRunner().open(pillm.Checkpoint(path=tmp_path))
    with pytest.raises(pillm.Unavailable, match="cannot be asked"):
        ServerRunner(base_url="http://127.0.0.1:9/v1").open(file(tmp_path))
    with pytest.raises(pillm.ConfigError, match="must be an address"):
        pillm.runner("server", base_url="nowhere")
    with pytest.raises(pillm.UnsafeError, match="not https"):
        ServerRunner(base_url="http://example.com/v1").check()
    with pytest.raises(pillm.Unavailable, match="does not tell what machine"):
        ServerRunner(base_url="http://pi.local:8080/v1").probe()
    assert ServerRunner().probe().cores


def test_results_are_known_by_the_server_and_not_by_how_it_is_asked() -> None:
    assert ServerRunner(concurrency=4, timeout=3).identity() == ServerRunner().identity()
    assert ServerRunner(base_url="http://127.0.0.1:8081/v1").identity() != ServerRunner().identity()


@pytest.fixture
def llama_server() -> Iterator[str]:
    """Return the address of a real llama-server with the file of the board's self-test."""
    built = pytest.importorskip("pillm_llamacpp.building.built")
    emulation = pytest.importorskip("pillm_llamacpp.building.emulation")
    target = pytest.importorskip("pillm_llamacpp.building.targets").TARGETS["pi4"]
    kept = built.Built(target, built.kept_folder(target))
    if shutil.which(emulation.QEMU) is None:
        pytest.skip(f"not installed: {emulation.QEMU}")
    if kept.lacking(("llama-server",)):
        pytest.skip(f"not built: llama-server for the Raspberry Pi 4 ({built.command(target)})")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [emulation.QEMU, "-cpu", target.cpu, str(kept.path("llama-server")), "--model", str(MODEL), "--port", str(port)]
    argv += ["--ctx-size", "512", "--parallel", "1", "--threads", "1", "--no-ui", "--offline"]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as reply:
                if reply.status == 200:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def test_a_real_llama_server_is_proved_answers_like_the_file_here_and_is_timed(llama_server: str) -> None:
    model = pillm.ModelFile.of(MODEL, "Q4_K_M")
    runner = ServerRunner(base_url=llama_server, max_tokens=8, logprobs=2, prove=True)
    check_runner(runner, model)
    (there,) = ask(runner, model, "Bonjour, peux-tu allumer la lumière?")
    assert isinstance(there, pillm.Answer)
    (here,) = ask(pillm.runner("local", max_tokens=8), model, "Bonjour, peux-tu allumer la lumière?")
    assert isinstance(here, pillm.Answer)
    assert there.content == here.content
    held = ServerRunner(base_url=llama_server, constrain=True)
    schema = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"], "additionalProperties": False}
    (said,) = ask(held, model, "pick", schema=schema)
    assert isinstance(said, pillm.Answer)
    assert json.loads(said.content)["a"] in ("x", "y")
