"""run_encoder.sh: a vector for every text, or a refusal by its line; with this machine's own llama-server."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from pillm_llamacpp.exporter import GGUFExporter
from pillm_llamacpp_boardtools import RPI4, Board, need, printed, stand_in
from pillm_llamacpp_headers import with_keys
from pillm_llamacpp_llamatools import tool
from pillm_llamacpp_zoo import build

import pillm

TINY = RPI4 / "selftest" / "tiny.gguf"


@pytest.fixture
def here(board: Board) -> Board:
    """Return a board with this machine's llama-server, and a model of an odd name in its home."""
    (board.programs / "bin").mkdir(parents=True)
    (board.programs / "bin" / "llama-server").symlink_to(tool("llama-server"))
    shutil.copyfile(TINY, board.home / "it's a $(touch evil) model.gguf")
    return board


MODEL = "it's a $(touch evil) model.gguf"


def rows(text: str) -> list[list[float]]:
    return [[float(number) for number in line.split()] for line in text.splitlines()]


def left_behind(board: Board) -> list[Path]:
    return list((board.home / ".cache" / "pillm").iterdir())


def test_every_line_has_its_vector_whole_and_in_order_each_time(here: Board) -> None:
    texts = [f'ligne {number}: "l\'été" \\ $HOME\tà {number}h' for number in range(100)]
    first, again = (
        here.run("run_encoder.sh", "--threads", 1, MODEL, stdin="".join(f"{text}\n" for text in texts)).stdout for _ in range(2)
    )
    assert first == again
    found = rows(first)
    assert [len(row) for row in found] == [256] * 100
    assert all(math.hypot(*row) == pytest.approx(1, abs=1e-4) for row in found)
    with pillm.runner("local").open(pillm.ModelFile.of(TINY, "Q4_K_M")) as session:
        for mine, row in zip(session.embed(texts[30:40]), found[30:40], strict=True):
            assert sum(a * b for a, b in zip(mine, row, strict=True)) == pytest.approx(1, abs=1e-3)
    assert not list(here.home.rglob("evil"))
    assert left_behind(here) == []


def test_one_text_is_one_vector_with_its_line_ends_in_it_and_json_is_one_document(here: Board) -> None:
    (one,) = rows(here.run("run_encoder.sh", MODEL, "deux\nlignes").stdout)
    told = json.loads(here.run("run_encoder.sh", MODEL, "--json", stdin="deux lignes\r\ndeux").stdout)
    assert [row["index"] for row in told["data"]] == [0, 1]
    assert len(one) == len(told["data"][0]["embedding"]) == 256
    assert one != told["data"][0]["embedding"]


@pytest.mark.parametrize(
    ("stdin", "complaint"),
    [
        ("a\n \nb\n", "line 2 is empty"),
        ("", "there is no text to embed"),
        ("a\n" * 40 + "bonjour " * 900 + "\nb\n", "text 41 has no vector: input ("),
    ],
)
def test_a_text_that_has_no_vector_is_refused_by_its_number(here: Board, stdin: str, complaint: str) -> None:
    done = here.run("run_encoder.sh", MODEL, stdin=stdin, expect=2)
    assert complaint in done.stderr
    assert len(done.stdout.splitlines()) == (40 if "41" in complaint else 0)
    assert left_behind(here) == []


def test_the_pooling_and_the_longest_text_are_those_of_the_file(board: Board, tmp_path: Path) -> None:
    stand_in(board.programs / "bin" / "llama-server", "exit 9")
    assert " --pooling mean --ctx-size 512 " in printed(board.run("run_encoder.sh", "--dry-run", TINY, "a"))
    for kind, name in ((0, "mean"), (2, "cls"), (3, "last")):
        path = with_keys(TINY, tmp_path / f"{kind}.gguf", **{"llama.pooling_type": kind})
        line = printed(board.run("run_encoder.sh", "--dry-run", "--context", 100, path, "a"))
        assert f" --pooling {name} --ctx-size 100 --batch-size 100 --ubatch-size 100 " in line
    ranks = with_keys(TINY, tmp_path / "ranks.gguf", **{"llama.pooling_type": 4})
    assert "ranks texts" in board.run("run_encoder.sh", ranks, "a", expect=2).stderr
    assert "--pooling knows mean, cls and last" in board.run("run_encoder.sh", "--pooling", "none", TINY, "a", expect=2).stderr


@pytest.mark.full
def test_an_encoder_gives_the_vectors_of_its_own_pooling_each_time(here: Board, tmp_path: Path) -> None:
    (file,) = GGUFExporter(quants=("F16",), threads=1).export(build("bert", tmp_path), tmp_path / "out", pillm.Progress())
    texts = [f"the light {number} of the kitchen" for number in range(45)]
    with pillm.runner("local").open(file) as session:
        mine = list(session.embed(texts))
    for _ in range(3):
        found = rows(here.run("run_encoder.sh", file.path, stdin="\n".join(texts)).stdout)
        assert len(found) == len(texts)
        for one, other in zip(mine, found, strict=True):
            assert one == pytest.approx(other, abs=2e-3)


def test_nothing_goes_on_once_the_script_is_killed(here: Board) -> None:
    need("setpriv")
    told = {"HOME": str(here.home), "PATH": f"{here.bin}:/usr/bin:/bin", "PILLM_ROOT": str(here.root)}
    with subprocess.Popen([str(RPI4 / "run_encoder.sh"), MODEL], env=told, cwd=here.home, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as run:  # fmt: skip
        assert run.stdin
        assert run.stdout
        run.stdin.write("".join(f"ligne {number}\n" for number in range(9999)).encode())
        run.stdin.close()
        run.stdout.readline()
        (door,) = here.home.glob(".cache/pillm/embed.*/embed.sock")
        run.kill()
    until = time.monotonic() + 10
    while time.monotonic() < until and answers(door):
        time.sleep(0.1)
    assert not answers(door)


def answers(path: Path) -> bool:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as one, contextlib.suppress(OSError):
            one.connect(f"/proc/self/fd/{folder}/{path.name}")  # its own path is too long
            return True
        return False
    finally:
        os.close(folder)


def test_a_server_that_dies_while_it_is_asked_is_told_and_nothing_is_left(board: Board) -> None:
    stand_in(board.programs / "bin" / "llama-server", "echo why >&2; exit 3")
    done = board.run("run_encoder.sh", TINY, "a", expect=1)
    assert "why\n" in done.stderr
    assert "llama-server failed with status 3" in done.stderr
    assert left_behind(board) == []


@pytest.mark.full
def test_many_texts_are_more_than_a_command_line_holds(here: Board) -> None:
    texts = "".join(f"texte {number} qui dit bien plus que son nombre à qui le lit\n" for number in range(3000))
    assert len(texts) > 32 * os.sysconf("SC_PAGESIZE")
    assert [len(row) for row in rows(here.run("run_encoder.sh", MODEL, stdin=texts).stdout)] == [256] * 3000
