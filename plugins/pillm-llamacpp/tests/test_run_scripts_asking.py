"""run_decoder.sh: system prompt, form of the answer, saved prompt, context and chance, with the real program of the board."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from pillm_llamacpp_boardtools import RPI4, Board, script

import pillm

TINY = RPI4 / "selftest" / "tiny.gguf"


@pytest.fixture
def model(board: Board) -> Path:
    path = board.home / "it's a $(touch evil) model.gguf"
    shutil.copyfile(TINY, path)
    return path


def test_what_the_model_is_told_before_the_prompt_is_told_to_it(board: Board, model: Path) -> None:
    board.has("llama-completion")
    system, prompt = "Sois bref, it's \n $HOME.", "bonjour"
    messages = ({"role": "system", "content": system}, {"role": "user", "content": prompt})
    asked = pillm.Request(key="k", prompt=pillm.Prompt(id="p", messages=messages), messages=messages)
    with pillm.runner("local", max_tokens=8).open(pillm.ModelFile.of(model, "Q4_K_M")) as session:
        ((_, answer),) = session.answer(iter([asked]))
    assert isinstance(answer, pillm.Answer)
    (board.home / "system.txt").write_text(system)
    words = ("--tokens", 8, "--threads", 1, model, prompt)
    told = [
        board.run("run_decoder.sh", *words, *more).stdout
        for more in (("--system", system), ("--system-file", "system.txt"), ())
    ]
    assert told[0].strip() == told[1].strip() == answer.content.strip()
    assert told[2] != told[0]


def test_an_answer_is_held_to_a_schema_or_a_grammar(board: Board, model: Path) -> None:
    board.has("llama-completion")
    (board.home / "a schema.json").write_text('{"enum": ["oui", "non"]}')
    (board.home / "grammar.gbnf").write_text('root ::= "peut-être"')
    words = ("--tokens", 20, "--threads", 1, model, "bonjour")
    assert json.loads(board.run("run_decoder.sh", *words, "--schema", "a schema.json").stdout) in ("oui", "non")
    assert board.run("run_decoder.sh", *words, "--grammar", "grammar.gbnf").stdout == "peut-être\n"
    (board.home / "grammar.gbnf").write_text("root ::= nothing")
    assert "nothing" in board.run("run_decoder.sh", *words, "--grammar", "grammar.gbnf", expect=1).stderr


def test_a_saved_prompt_is_gone_on_with_and_changes_no_answer(board: Board, model: Path) -> None:
    board.has("llama-completion")
    real = board.programs / "bin" / "llama-completion"
    real.rename(real.with_name("real"))
    script(real, '"${0%/*}/real" "$@" 2>"$HOME/log"; code=$?; cat "$HOME/log" >&2; exit $code')
    system = " ".join(["tu es un assistant qui parle de lumière et de cuisine"] * 8)
    words = ("--tokens", 4, "--threads", 1, "--system", system, model)
    without = {prompt: board.run("run_decoder.sh", *words, prompt).stdout for prompt in ("bonjour", "bonsoir")}
    evaluated = {}
    for prompt in ("bonjour", "bonsoir", "bonjour"):
        assert board.run("run_decoder.sh", *words, prompt, "--prompt-cache", "a cache").stdout == without[prompt]
        evaluated[prompt] = re.findall(
            r"session file (?:matches (\d+) / (\d+)|has exact match)", (board.home / "log").read_text()
        )
    matched, whole = map(int, evaluated["bonsoir"][0])
    assert matched > 0.8 * whole
    assert evaluated["bonjour"]


def test_what_is_kept_of_the_context_and_chance_are_chosen(board: Board, model: Path) -> None:
    board.has("llama-completion")
    words = ("--tokens", 12, "--threads", 1, model, "bonjour")
    greedy = board.run("run_decoder.sh", *words).stdout
    warm = [board.run("run_decoder.sh", *words, "--temperature", "1.5", "--seed", seed).stdout for seed in (1, 1, 2)]
    assert warm[0] == warm[1] != warm[2]
    assert greedy not in warm
    assert board.run("run_decoder.sh", *words, "--kv-type", "q8_0").stdout.strip()
    assert "Unsupported cache type: q9" in board.run("run_decoder.sh", *words, "--kv-type", "q9", expect=1).stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--temperature", "-1"), "--temperature needs a number"),
        (("--temperature", "1.2.3"), "--temperature needs a number"),
        (("--seed", "x"), "--seed needs a whole number"),
        (("--schema", "nowhere"), "there is no file nowhere"),
        (("--system-file", "nowhere"), "there is no file nowhere"),
        (("--system", "a", "--system-file", "model.gguf"), "--system or --system-file"),
        (("--schema", "model.gguf", "--grammar", "model.gguf"), "--schema or --grammar"),
        (("--serve", "--system", "a"), "--serve brings"),
    ],
)
def test_choices_that_cannot_be_met_are_refused(board: Board, words: tuple[str, ...], complaint: str) -> None:
    shutil.copyfile(TINY, board.home / "model.gguf")
    assert complaint in board.run("run_decoder.sh", "model.gguf", *words, expect=2).stderr
