"""What llama-cpp-python's own classes get wrong, and this reading of llama.cpp must not."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pydantic
import pytest
from pillm_llamacpp.grammars.grammar import compile_schema
from pillm_llamacpp.inference.engine import Context
from pillm_llamacpp.inference.machine import free_memory, prefers_huge_pages
from pillm_llamacpp.measuring.timefiles import SMALL, write_file
from pillm_llamacpp.process.serving import Served
from pillm_llamacpp.runner import LocalRunner
from pillm_llamacpp.workers.client import Worker
from pillm_llamacpp.workers.refusal import Refusal
from pillm_llamacpp_students import OWN_KEYS, write_student, written
from tokenizers import Tokenizer

import pillm

LONG = "antidisestablishmentarianism" * 5


@pytest.fixture
def served(gguf: pillm.ModelFile) -> Iterator[Served]:
    found = Served(path=str(gguf.path), context=128)
    yield found
    found.model.close()


def test_tokens_and_metadata_of_any_length_come_out_whole(tmp_path: Path) -> None:
    folder = write_student(tmp_path / "student", "qwen2")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens([LONG])
    tokenizer.save(str(folder / "tokenizer.json"))
    file = written(folder, tmp_path / "out", keys={**OWN_KEYS, "general.description": "é" * 3000})["F16"]
    served = Served(path=str(file), vocab_only=True)
    try:
        assert served.model.text(served.model.tokenize(f"a {LONG} b")) == f"a {LONG} b"
        assert served.model.piece(tokenizer.token_to_id(LONG)).decode() == LONG
        assert served.model.meta("general.description") == "é" * 3000
    finally:
        served.model.close()


def test_a_token_limit_holds_in_the_middle_of_a_character(served: Served) -> None:
    gbnf = compile_schema({"const": "😀" * 12}, where="row").gbnf
    served.add({"id": 1, "messages": [{"role": "user", "content": "a"}], "max_tokens": 7, "temperature": 0.0, "seed": 0,
                "logprobs": 0, "grammar": gbnf})  # fmt: skip
    batcher, found = served.ready(), []
    while batcher.busy:
        found += list(batcher.step())
    assert len(found[0]["ids"]) == 7
    assert found[0]["finish"] == "length"
    assert found[0]["text"].startswith('"😀')


@pytest.mark.parametrize("option", [{"type_v": 8}, {"draft_model": "x"}, {"logits_all": True}, {"flash_attn": False}])
def test_options_that_llama_cpp_python_fails_on_are_not_offered(option: dict[str, object]) -> None:
    with pytest.raises(pydantic.ValidationError, match="Extra inputs are not permitted"):
        LocalRunner(**option)


def test_a_quantised_cache_of_values_is_never_made(served: Served) -> None:
    """A cache in 16 or 32 bit needs no flash attention: nothing here can fail for want of it."""
    context = Context(served.model, served.log, cells=32, threads=1, exact=True)
    context.close()
    with pytest.raises(Refusal, match="cannot make a context"):
        Context(served.model, served.log, cells=32, sequences=1000, threads=1)


def test_a_session_that_was_never_closed_leaves_no_word_and_no_process(gguf: pillm.ModelFile) -> None:
    code = (
        "import pillm; from pathlib import Path; from pillm_llamacpp.runner import LocalRunner\n"
        f"session = LocalRunner(max_tokens=2).open(pillm.ModelFile.of(Path({str(gguf.path)!r}), ''))\n"
        "print(session.worker_pid)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    pid = Path(f"/proc/{done.stdout.strip()}/stat")
    gone = subprocess.run(["timeout", "5", "sh", "-c", f"while [ -e {pid} ]; do sleep 0.05; done"], check=False)
    assert gone.returncode == 0


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux: it alone tells how a process began")
def test_a_failed_check_of_llama_cpp_starts_no_debugger() -> None:
    with Worker("a test") as worker:
        worker.ask(op="devices")
        assert b"GGML_NO_BACKTRACE=1" in Path(f"/proc/{worker.pid}/environ").read_bytes().split(b"\0")


def test_large_weights_lie_in_huge_pages_where_the_system_has_them(tmp_path: Path) -> None:
    wide = replace(SMALL, layers=4, vocabulary=131072)
    file = write_file(tmp_path / "wide.gguf", wide, "Q8_0")
    with Worker("a test", huge_pages=True) as worker:
        worker.ask(op="open", path=str(file), context=256, mapped=False)
        worker.ask(op="time", kind="tg", tokens=4, depth=0, threads=1)
        told = dict(line.split(":") for line in Path(f"/proc/{worker.pid}/smaps_rollup").read_text().splitlines()[1:])
    if not prefers_huge_pages(file.stat().st_size, free_memory()):
        pytest.skip("needs transparent huge pages")
    assert int(told["AnonHugePages"].split()[0]) * 1024 > file.stat().st_size * 3 // 4


def test_tunables_of_the_users_own_are_kept_for_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=1")
    with Worker("a test", huge_pages=True) as worker:
        worker.ask(op="devices")
        found = Path(f"/proc/{worker.pid}/environ").read_bytes()
    # the C library cuts the list into pieces as it reads it
    assert {b"GLIBC_TUNABLES=glibc.malloc.hugetlb=1", b"glibc.malloc.arena_max=1"} <= set(re.split(rb"[\0:]", found))
