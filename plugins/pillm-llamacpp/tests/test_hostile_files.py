"""A damaged or hostile GGUF is refused at the door, refused by llama.cpp, or the end of a worker; pillm lives through all."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pillm_llamacpp.runner import LocalRunner
from pillm_llamacpp.teacher import GGUFTeacher
from pillm_llamacpp.workers.client import Worker, WorkerDied
from pillm_llamacpp_tiny import answers, request

import pillm
from pillm.intake.faults import Fault
from pillm.intake.inspection import look_at_file
from pillm.testing.ggufs import gguf
from pillm.testing.hostile import write_hostile
from pillm.testing.hostiletemplates import PATIENT

WIDTH, TOKENS = 8, ["a", "b", "ab", "c", "Ċ", "Ġ", "<|im_start|>", "<|im_end|>"]
METADATA = {
    "general.architecture": "llama", "general.name": "few", "llama.block_count": 1, "llama.context_length": 64,
    "llama.embedding_length": WIDTH, "llama.feed_forward_length": WIDTH, "llama.attention.head_count": 1,
    "llama.attention.head_count_kv": 1, "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.dimension_count": WIDTH,
    "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "default", "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": [1, 1, 1, 1, 1, 1, 3, 3], "tokenizer.ggml.merges": ["a b"],
    "tokenizer.ggml.eos_token_id": 7, "tokenizer.chat_template": "{{ messages[0].content }}",
}  # fmt: skip
SECONDS = 2.0
ALL = [pytest.mark.full, pytest.mark.timeout(1800)]
BAD_GRAMMARS = (
    "root ::= (", "root ::= other", "", "root ::= root", 'root ::= "a"{999999999}', "\x00", "x" * 100_000,
)  # fmt: skip


def small(**changed: object) -> bytes:
    """Return a whole Llama of a few KB."""
    square = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    shapes = {
        "token_embd": (WIDTH, len(TOKENS)),
        "output_norm": (WIDTH,),
        "blk.0.attn_norm": (WIDTH,),
        "blk.0.ffn_norm": (WIDTH,),
    }
    shapes |= {f"blk.0.{name}": (WIDTH, WIDTH) for name in square}
    random, data, tensors = np.random.default_rng(1), b"", []
    for name, shape in shapes.items():
        tensors.append((f"{name}.weight", shape, 0, len(data)))
        raw = (random.standard_normal(int(np.prod(shape))) * 0.3).astype("<f4").tobytes()
        data += raw + bytes(-len(raw) % 32)
    metadata = {**METADATA, **{key.replace("__", "."): value for key, value in changed.items()}}
    return gguf(metadata, tensors, data)


class Loader:
    """Opens files in a worker, another one where it died, and counts what became of them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "flipped.gguf"
        self.outcomes: Counter[str] = Counter()
        self.slowest = 0.0
        self._worker: Worker | None = None

    def load(self, raw: bytes) -> None:
        """Look at a file as the door does, then open it in llama.cpp and let it think about three tokens."""
        self.path.write_bytes(raw)
        try:
            look_at_file(self.path)
        except Fault:
            self.outcomes["refused at the door"] += 1
            return
        self._worker = self._worker or Worker("a test")
        began = time.perf_counter()
        stuck = threading.Timer(5 * SECONDS, self._worker._process.kill)
        stuck.start()
        try:
            self._worker.ask(op="open", path=str(self.path), threads=1, context=32)
            self._worker.ask(op="tokenize", text="ab\n c")
            self._worker.ask(op="follow", ids=[0, 2, 4])
            self.outcomes["opened"] += 1
        except WorkerDied as error:
            self.outcomes["hung" if error.killed else "the worker died"] += 1
            self._worker = None
        except pillm.PillmError:
            self.outcomes["refused by llama.cpp"] += 1
        finally:
            stuck.cancel()
            self.slowest = max(self.slowest, time.perf_counter() - began)

    def close(self) -> None:
        if self._worker:
            self._worker.close()


@pytest.fixture
def loader(tmp_path: Path) -> Iterator[Loader]:
    made = Loader(tmp_path)
    yield made
    made.close()


def test_the_small_model_opens_and_answers(tmp_path: Path) -> None:
    (tmp_path / "few.gguf").write_bytes(small())
    assert len(small()) < 6000
    (answer,) = answers(LocalRunner(max_tokens=4), pillm.ModelFile.of(tmp_path / "few.gguf", "F32"), [request("ab")])
    assert isinstance(answer, pillm.Answer)


def test_what_the_exporter_makes_is_let_in_without_a_word(exported: dict[str, pillm.ModelFile]) -> None:
    assert [pillm.check_model_file(model.path) for model in exported.values()] == [()] * len(exported)


def flips(step: int, masks: tuple[int, ...]) -> Iterator[bytes]:
    raw = small()
    for place in range(0, len(raw), step):
        for mask in masks:
            yield raw[:place] + bytes([raw[place] ^ mask]) + raw[place + 1 :]


def truncations(step: int) -> Iterator[bytes]:
    raw = small()
    return (raw[:length] for length in range(0, len(raw), step))


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(partial(flips, 13, (0xFF,)), id="some flips"),
        pytest.param(partial(truncations, 101), id="some truncations"),
        pytest.param(
            partial(flips, 1, (0xFF, 0x01, 0x80)), id="all flips", marks=[pytest.mark.full, pytest.mark.timeout(1800)]
        ),
        pytest.param(partial(truncations, 1), id="all truncations", marks=[pytest.mark.full, pytest.mark.timeout(1800)]),
    ],
)
def test_a_damaged_file_never_hangs_and_never_ends_pillm(made: Callable[[], Iterator[bytes]], loader: Loader) -> None:
    for raw in made():
        loader.load(raw)
    print(dict(loader.outcomes), f"slowest {loader.slowest:.2f} s")
    assert not loader.outcomes["hung"]
    assert loader.outcomes["refused at the door"]
    assert sum(loader.outcomes.values()) == sum(1 for _ in made())


def test_no_worker_is_started_for_a_hostile_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr("pillm_llamacpp.inference.session.Worker", started.append)
    hostile = {name: path for name, path in write_hostile(tmp_path).items() if name.startswith("gguf: ")}
    for name, path in list(hostile.items())[::7]:
        with pytest.raises((pillm.UnsafeError, pillm.DataError)):
            LocalRunner().open(pillm.ModelFile.of(path, "F32"))
            pytest.fail(name)
    with pytest.raises(pillm.UnsafeError):
        GGUFTeacher(model=hostile["gguf: data that overlaps"]).check()
    assert started == []


def test_a_check_of_llama_cpp_that_fails_ends_the_worker_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "twice.gguf").write_bytes(small(tokenizer__ggml__tokens=["a", "a", *TOKENS[2:]]))
    with pytest.raises(WorkerDied, match="one of its own checks failed") as raised:
        Worker("a test").ask(op="open", path=str(tmp_path / "twice.gguf"), threads=1)
    assert not raised.value.killed


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL, signal.SIGBUS])
def test_however_a_worker_dies_the_next_one_answers(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "few.gguf").write_bytes(small())
    with LocalRunner(max_tokens=2).open(pillm.ModelFile.of(tmp_path / "few.gguf", "F32")) as session:
        os.kill(session.worker_pid, number)
        said = list(session.answer(iter([request("ab", number=1), request("c", number=2)])))
    assert len(said) == 2
    assert all(isinstance(outcome, pillm.Answer) for _, outcome in said)


@pytest.mark.parametrize("grammar", BAD_GRAMMARS)
def test_an_invalid_grammar_is_a_refusal_of_its_row_or_the_end_of_a_worker(grammar: str, tmp_path: Path) -> None:
    (tmp_path / "few.gguf").write_bytes(small())
    worker = Worker("a test")
    worker.ask(op="open", path=str(tmp_path / "few.gguf"), threads=1)
    ask = {"op": "generate", "id": 0, "messages": [{"role": "user", "content": "ab"}], "tools": [], "max_tokens": 2,
           "temperature": 0.0, "seed": 0, "logprobs": 0, "grammar": grammar}  # fmt: skip
    worker.send(ask)
    worker.send({"op": "end"})
    with contextlib.suppress(WorkerDied):  # pillm itself lives
        assert {"refused", "text"} & set(worker.receive())
        worker.close()


@pytest.mark.full
def test_a_template_that_waits_for_its_word_fails_that_row_alone(tmp_path: Path) -> None:
    (tmp_path / "few.gguf").write_bytes(small(tokenizer__chat_template=PATIENT))
    rows = [request("ab", number=1), request("abracadabra", number=2), request("c", number=3)]
    first, second, third = answers(LocalRunner(max_tokens=2), pillm.ModelFile.of(tmp_path / "few.gguf", "F32"), rows)
    assert isinstance(first, pillm.Answer)
    assert isinstance(third, pillm.Answer)
    assert isinstance(second, pillm.Failure)
    assert "takes too long" in second.message
