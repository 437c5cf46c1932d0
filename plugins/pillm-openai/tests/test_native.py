from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pillm_openai.native import Native, Served
from pillm_openai_natives import Told, file, listing, streamed

import pillm

TINY = Path(__file__).parents[3] / "rpi4" / "selftest" / "tiny.gguf"


@contextmanager
def native(server: Told) -> Iterator[Native]:
    opened = Native(server.url, "", 5.0)
    try:
        yield opened
    finally:
        opened.close()


def served(model: pillm.ModelFile, named: str | None = None, **paths: Any) -> Served:
    with Told(**{"v1__models": listing("m"), **paths}) as server, native(server) as opened:
        return opened.served(model, named)


def test_the_file_that_a_server_here_opened_is_compared_by_its_bytes(tmp_path: Path) -> None:
    model = file(tmp_path)
    (tmp_path / "there").mkdir()
    same = file(tmp_path / "there", "other-name.gguf")
    found = served(model, props={"model_path": str(same.path)})
    assert (found.proof, found.model) == ("bytes", "m")
    other = file(tmp_path / "there", "student.gguf", b"GGUF of another")
    with pytest.raises(pillm.ConfigError, match=r"whose bytes are others, and not .*student\.gguf\. Nothing was asked"):
        served(model, props={"model_path": str(other.path)})


def test_a_name_that_holds_the_hash_proves_and_a_bare_name_does_not(tmp_path: Path) -> None:
    model = file(tmp_path)
    assert served(model, props={"model_path": f"/far/{model.sha256[:16]}-student.gguf"}).proof == "bytes"
    assert served(model, props={"model_path": "/far/student.gguf"}).proof == "name"
    assert served(model, props={"model_path": "model.gguf"}).proof == "none"
    for path in (f"/far/{'0' * 16}-student.gguf", "/far/teacher.gguf"):
        with pytest.raises(pillm.ConfigError, match="and not "):
            served(model, props={"model_path": path})


def test_a_server_that_tells_of_a_model_unlike_the_file_is_refused() -> None:
    model = pillm.ModelFile.of(TINY, "Q4_K_M")
    like = {"n_params": 956672, "size": 589652, "n_embd": 256, "n_ctx_train": 512, "n_vocab": 330}  # as llama-server tells
    for path, proof in (("model.gguf", "none"), (f"/far/{TINY.name}", "name")):
        for meta in (like, {}, {"n_params": "many", "size": True}):
            listed = {"data": [{"id": "m", "meta": meta}, "odd"]}
            assert served(model, "m", v1__models=listed, props={"model_path": path}).proof == proof
        for name in like:
            listed = {
                "data": [{"id": "~other", "meta": like}, {"id": "x", "aliases": ["m"], "meta": {**like, name: like[name] + 1}}]
            }
            with pytest.raises(
                pillm.ConfigError, match=rf"serves a model of {like[name] + 1} .* the file has {like[name]}, and not"
            ):
                served(model, "m", v1__models=listed, props={"model_path": path})


def test_ollama_names_the_hash_of_its_file(tmp_path: Path) -> None:
    model = file(tmp_path)

    def show(body: Any, sha256: str = model.sha256) -> dict[str, str]:
        assert body == {"model": "mine"}
        return {"modelfile": f"# Modelfile\nFROM /usr/share/ollama/.ollama/models/blobs/sha256-{sha256}\nTEMPLATE x"}

    assert served(model, "mine", api__show=show).proof == "bytes"
    with pytest.raises(pillm.ConfigError, match="the model mine of sha256 0000"):
        served(model, "mine", api__show=lambda body: show(body, "0" * 64))


def test_a_server_that_tells_nothing_proves_nothing_and_one_that_lists_several_is_asked_which(tmp_path: Path) -> None:
    model = file(tmp_path)
    assert served(model).proof == "none"
    with pytest.raises(pillm.ConfigError, match=r"serves a, b\. Name the one to ask"):
        served(model, v1__models=listing("a", "b"))
    assert served(model, "b", v1__models=listing("a", "b")).model == "b"
    with pytest.raises(pillm.ConfigError, match="no model that it lists"):
        served(model, v1__models=b"<html>")


def test_nobody_there_is_unavailable() -> None:
    opened = Native("http://127.0.0.1:9/v1", "", 2.0)
    with pytest.raises(pillm.Unavailable, match="cannot be asked"):
        opened.ask("/props")
    opened.close()


def test_timings_are_the_servers_own_and_of_as_many_tokens_as_were_asked_for() -> None:
    def complete(body: Any) -> bytes:
        read, written = len(body["prompt"]), body["n_predict"]
        told = {"prompt_n": min(read, 100), "predicted_n": written, "prompt_per_second": 50.0, "predicted_per_second": 5.0}
        return streamed(*[{"content": "a", "stop": False}] * written, {"content": "", "stop": True, "timings": told})

    paths = {"completion": complete, "tokenize": {"tokens": [7, 8, 9]}, "props": {"model_path": "x"}}
    with Told(**paths) as server, native(server) as opened:
        found = opened.timed(8, 4)
        assert (found.read_tps, found.written_tps, len(found.arrivals)) == (50.0, 5.0, 5)
        assert list(found.arrivals) == sorted(found.arrivals)
        (asked,) = [body for path, body in server.asked if path == "/completion"]
        assert (asked["prompt"], asked["n_predict"], asked["cache_prompt"]) == ([7, 8, 9, 7, 8, 9, 7, 8], 5, False)
        with pytest.raises(pillm.BackendError, match="read 100 tokens"):
            opened.timed(200, 4)
    for paths in ({}, {"props": {"model_path": "x"}, "completion": streamed({"content": "a"})}):
        with Told(**paths) as server, native(server) as opened, pytest.raises(pillm.BackendError, match="tells no timings"):
            opened.timed(8, 4)


def test_a_stream_is_read_event_by_event_and_whatever_else_it_holds_is_passed_over() -> None:
    noise = b": a comment\n\ndata: [DONE]\n\ndata: {broken\n\ndata: 7\n\n"
    with Told(v1__a=streamed({"x": 1}) + noise + streamed({"x": 2})) as server, native(server) as opened:
        assert [event for _, event in opened.stream("/a", {})] == [{"x": 1}, {"x": 2}]
        with pytest.raises(pillm.BackendError, match="answered 404 to /b"):
            list(opened.stream("/b", {}))
    opened = Native("http://127.0.0.1:9/v1", "", 2.0)
    with pytest.raises(pillm.Unavailable, match="cannot be asked"):
        list(opened.stream("/a", {}))
    opened.close()


def test_what_a_server_says_of_itself_is_read_as_far_as_it_makes_sense() -> None:
    told = {"default_generation_settings": {"n_ctx": 512}, "build_info": "b1-abc"}
    with Told(props=told) as server, native(server) as opened:
        assert (opened.context(), opened.build(), opened.is_llama_server()) == (512, "llama.cpp b1-abc", True)
    with Told(props={"default_generation_settings": [], "build_info": 3}) as server, native(server) as opened:
        assert (opened.context(), opened.build()) == (None, None)
    with Told() as server, native(server) as opened:
        assert not opened.is_llama_server()
