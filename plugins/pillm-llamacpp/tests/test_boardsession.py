"""Model files that answer on a board: the board's own llama-server, on its processor as qemu plays it, behind a real sshd."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pillm_llamacpp.boards.pi4 import Pi4Runner
from pillm_llamacpp_boardtools import program, wrapped
from pillm_llamacpp_tiny import SENTENCES, answers, request

import pillm
from pillm.testing import LoopbackBoard, check_runner, missing_for_board

ROOT = Path(__file__).parents[3]
LACKING = missing_for_board()
pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING)
SURE = f"a tab \\t, a quote ' and {SENTENCES[0]}"
FORCED = {"const": "oui"}  # a random model is torn between any two words, and two processors round otherwise


@pytest.fixture
def model() -> pillm.ModelFile:
    """Return the file of the board's self-test: small, and sure of every word."""
    return pillm.ModelFile.of(ROOT / "rpi4" / "selftest" / "tiny.gguf", "Q4_K_M")


@pytest.fixture
def pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackBoard]:
    """Return a board with the llama-server that was built for it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    server = program("llama-server")
    # a socket's path must be short
    with tempfile.TemporaryDirectory(prefix="b") as scratch, LoopbackBoard(tmp_path / "pi") as board:
        wrapped(server, board.home / ".local" / "bin")
        board.environment(TMPDIR=scratch)
        yield board
        assert not list(Path(scratch).glob("*/s.sock"))


def runner(pi: LoopbackBoard, **options: object) -> Pi4Runner:
    return Pi4Runner(**{"host": pi.host, "ssh_config": pi.ssh_config, "threads": 1, "max_tokens": 12, **options})


def left(pi: LoopbackBoard, *, within: float = 6.0) -> list[str]:
    """Return the command lines of what still runs on the board after so many seconds."""
    until = time.monotonic() + within
    found = ["?"]
    while found and time.monotonic() < until:
        time.sleep(0.1)
        found = []
        for pid in pi.processes():
            try:
                found.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


def test_the_board_answers_with_the_tokens_of_this_machine_and_nothing_is_left_there(
    pi: LoopbackBoard, model: pillm.ModelFile
) -> None:
    asked = [request(SURE, 1), request("un mot " * 2000, 2), request("pick", 3, schema=FORCED)]
    asked.append(replace(request(number=4), messages=({"role": "user", "content": "\udc80"},)))
    options = {"max_tokens": 12, "constrain": True, "logprobs": 2}
    here = answers(pillm.runner("local", **options), model, asked)
    there = answers(runner(pi, **options), model, asked)
    for one, other in ((here[0], there[0]), (here[2], there[2])):
        assert isinstance(one, pillm.Answer)
        assert isinstance(other, pillm.Answer)
        assert (other.content, other.token_ids, other.finish_reason) == (one.content, one.token_ids, one.finish_reason)
        assert other.tokenizer_hash == one.tokenizer_hash
        assert [row[0][0] for row in other.logprobs or ()] == [row[0][0] for row in one.logprobs or ()]
        assert (other.logprobs or ())[0][0][1] == pytest.approx((one.logprobs or ())[0][0][1], abs=0.15)
    assert isinstance(there[2], pillm.Answer)
    assert there[2].content == '"oui"'
    assert [type(result) for result in (here[1], there[1], here[3], there[3])] == [pillm.Failure] * 4
    assert left(pi) == []


def test_a_connection_that_breaks_leaves_rows_pending_and_nothing_on_the_board(
    pi: LoopbackBoard, model: pillm.ModelFile
) -> None:
    rows = (request(f"{SENTENCES[0]} {number}", number) for number in itertools.count())
    with runner(pi).open(model) as session:
        said = session.answer(rows)
        next(said)
        pi.unplug()
        with pytest.raises(pillm.Unavailable, match=r"connection broke during llama-server.*Run the same command again"):
            next(said)
    assert left(pi) == []


def test_embeddings_are_those_of_this_machine(pi: LoopbackBoard, model: pillm.ModelFile) -> None:
    texts = ["one", "two words", "one"]
    with pillm.runner("local").open(model) as session:
        here = list(session.embed(texts))
    with runner(pi, context=64).open(model) as session:
        there = list(session.embed(texts))
        with pytest.raises(pillm.DataError, match="longer than the context of 64"):
            list(session.embed(["un mot " * 100]))
    for one, other in zip(here, there, strict=True):
        assert sum(a * b for a, b in zip(one, other, strict=True)) > 0.999  # their length is 1
        assert sum(value * value for value in other) == pytest.approx(1.0, abs=1e-4)


def test_a_model_whose_caches_do_not_fit_there_is_told_with_both_figures(
    pi: LoopbackBoard, model: pillm.ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, many = (pillm.memory_to_serve(model, context=512, parallel=parallel) for parallel in (1, 64))
    monkeypatch.setattr(pillm.Remote, "memory", lambda _: one + 1_000_000)
    said = rf"board has {(one + 1_000_000) / 1e6:.0f} MB of memory left, and this model needs {many / 1e6:.0f} MB"
    with runner(pi, context=512, parallel=64).open(model) as session, pytest.raises(pillm.ConfigError, match=said):
        list(session.answer(iter([request()])))
    assert left(pi) == []


def test_several_answers_at_once_are_those_one_by_one(pi: LoopbackBoard, model: pillm.ModelFile) -> None:
    # unforced, this small model soon comes to a tie, and sums over a batch round otherwise
    words = ["oui", "non", "si", "no", "yes"]
    asked = [request(f"pick {word}", number, schema={"const": word}) for number, word in enumerate(words)]
    one = answers(runner(pi, constrain=True), model, asked)
    together = answers(runner(pi, constrain=True, parallel=3), model, asked)
    for mine, other in zip(one, together, strict=True):
        assert isinstance(mine, pillm.Answer)
        assert isinstance(other, pillm.Answer)
        assert (other.content, other.finish_reason) == (mine.content, mine.finish_reason)
    assert [one.content for one in together] == [f'"{word}"' for word in words]  # type: ignore[union-attr]
    assert len([line for line in pi.commands if "--parallel 3" in line]) == 1
    assert left(pi) == []


@pytest.mark.full
def test_whoever_stops_listening_leaves_nothing_computing_there(pi: LoopbackBoard, model: pillm.ModelFile) -> None:
    rows = (request(f"{SENTENCES[0]} {number}", number) for number in itertools.count())
    with runner(pi, parallel=2, max_tokens=200).open(model) as session:
        said = session.answer(rows)
        next(said)
        said.close()  # type: ignore[attr-defined]
        assert left(pi, within=10.0) == []
        assert isinstance(next(session.answer(iter([request(SURE, 1)])))[1], pillm.Answer)


@pytest.mark.full
def test_it_keeps_the_protocol_of_runners(pi: LoopbackBoard, model: pillm.ModelFile) -> None:
    wrapped(program("llama-bench"), pi.home / "bin")
    check_runner(runner(pi, program="bin/llama-bench"), model)


@pytest.mark.full
def test_a_trained_model_is_scored_on_the_board_as_it_is_here(pi: LoopbackBoard, tmp_path: Path) -> None:
    folder = pillm.model_folder("nano-teacher")
    assert folder is not None
    (model,) = pillm.export(
        pillm.Checkpoint(path=folder), pillm.exporter("gguf", quants="Q8_0", imatrix="off"), out=tmp_path / "export"
    )
    prompts = list(itertools.islice(pillm.read_prompts(ROOT / "dataset" / "assistant" / "handwritten.jsonl"), 20))
    asked = [pillm.Contract().request(row, {}) for row in prompts]
    here = answers(pillm.runner("local", max_tokens=48), model, asked)
    there = answers(runner(pi, max_tokens=48), model, asked)
    assert [one.token_ids for one in there] == [one.token_ids for one in here]  # type: ignore[union-attr]
    assert len({one.content for one in there}) > 5  # type: ignore[union-attr]
    together = answers(runner(pi, max_tokens=48, parallel=4), model, asked)
    same = [one.token_ids == other.token_ids for one, other in zip(together, there, strict=True)]  # type: ignore[union-attr]
    assert sum(same) >= len(same) - 1  # now and then a tie falls the other way
    assert left(pi) == []
