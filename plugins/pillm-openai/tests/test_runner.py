from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


def built_program(target: str) -> Path:
    """Return the path of a llama-server that was built here; skip the test where there is none."""
    built = pytest.importorskip("pillm_llamacpp.building.built")
    found = pytest.importorskip("pillm_llamacpp.building.targets").TARGETS[target]
    kept = built.Built(found, built.kept_folder(found))
    if kept.lacking(("llama-server",)):
        pytest.skip(f"not built: llama-server for {found.title} ({built.command(found)})")
    path: Path = kept.path("llama-server")
    return path


@contextmanager
def serving(*start: str, model: str | Path = MODEL, cwd: Path | None = None) -> Iterator[str]:
    """Yield the address of a real llama-server with the file of the board's self-test."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [*start, "--model", str(model), "--port", str(port)]
    argv += [
        "--ctx-size",
        "512",
        "--parallel",
        "1",
        "--threads",
        "1",
        "--no-ui",
        "--offline",
        "--embeddings",
        "--pooling",
        "mean",
    ]
    quiet = subprocess.DEVNULL
    told = {**os.environ, "LLAMA_ARG_REPACK": "0"}
    process = subprocess.Popen(argv, stdin=quiet, stdout=quiet, stderr=quiet, env=told, cwd=cwd)
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


@pytest.fixture
def llama_server() -> Iterator[str]:
    """Return the address of the board's llama-server, under qemu."""
    emulation = pytest.importorskip("pillm_llamacpp.building.emulation")
    if shutil.which(emulation.QEMU) is None:
        pytest.skip(f"not installed: {emulation.QEMU}")
    with serving(emulation.QEMU, "-cpu", "cortex-a72", str(built_program("pi4"))) as url:
        yield url


@pytest.fixture
def native_server() -> Iterator[str]:
    """Return the address of this machine's llama-server."""
    with serving(str(built_program("this"))) as url:
        yield url


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


def test_a_real_llama_server_of_another_model_is_found_out_where_it_tells_no_name(tmp_path: Path) -> None:
    shutil.copyfile(MODEL, tmp_path / "model.gguf")
    other = tmp_path / "other.gguf"
    shorter = MODEL.read_bytes().replace(b"llama.context_length\x04\0\0\0\0\x02", b"llama.context_length\x04\0\0\0\0\x01")
    other.write_bytes(shorter)
    with serving(str(built_program("this")), model="model.gguf", cwd=tmp_path) as url:
        with ServerRunner(base_url=url).open(pillm.ModelFile.of(MODEL, "Q4_K_M")) as session:
            assert session.served.proof == "none"  # type: ignore[attr-defined]
        with pytest.raises(pillm.ConfigError, match="a model of 512 tokens of context, where the file has 256"):
            ServerRunner(base_url=url).open(pillm.ModelFile.of(other, "Q4_K_M"))


@pytest.mark.full
def test_a_real_llama_server_embeds_as_the_file_does_here(native_server: str, tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"id": "a", "text": "Bonjour"}\n{"id": "b", "text": "allume la lumière du salon"}\n')
    said = []
    for options in (["server", "-o", f"base_url={native_server}"], ["local"]):
        argv = [sys.executable, "-m", "pillm", "embed", str(MODEL), str(texts), "--runner", *options]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120)
        said.append([json.loads(line) for line in done.stdout.splitlines()])
    assert [row["id"] for row in said[0]] == ["a", "b"]
    for there, here in zip(*said, strict=True):
        assert sum(a * b for a, b in zip(there["vector"], here["vector"], strict=True)) == pytest.approx(1, abs=1e-3)
    model = pillm.ModelFile.of(MODEL, "Q4_K_M")
    with ServerRunner(base_url=native_server).open(model) as session, pytest.raises(pillm.DataError, match="Shorten the text"):
        list(session.embed(["la lumière du salon " * 400]))


def test_the_bench_of_a_real_llama_server_tells_first_token_and_pace(native_server: str) -> None:
    row = pillm.Prompt(id="a", messages=({"role": "user", "content": "Bonjour"},))
    plan = pillm.BenchPlan(pp=32, tg=8, repetitions=3, prompts=(row,), texts=("Bonjour",), depths=(16,))
    record = pillm.bench(pillm.ModelFile.of(MODEL, "Q4_K_M"), ServerRunner(base_url=native_server, max_tokens=8), plan=plan)
    assert record.threads is None
    assert record.build
    assert {"ttft_ms", "inter_token_ms", "inter_token_p95_ms", "answer_ttft_ms", "embed_ms"} <= record.times.keys()
    assert {"inter_token_free_ms", "inter_token_free_p95_ms"} <= record.times.keys()
    assert 0 < record.times["inter_token_ms"].value <= record.times["inter_token_p95_ms"].value
    assert "as it was started" in record.not_measured["pp32 @ d16"]
