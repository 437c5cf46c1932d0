"""run_decoder.sh: system prompt, form of the answer, saved prompt, context and chance, with the real program of the board."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from pillm_llamacpp_boardtools import RPI4, Board, script, stand_in
from pillm_llamacpp_headers import with_keys

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
    refused = board.run("run_decoder.sh", *words, "--grammar", "grammar.gbnf", expect=2).stderr
    assert "Undefined rule identifier 'nothing'" in refused
    assert "cannot be held to that grammar" in refused
    assert "crashed" not in refused
    (board.home / "grammar.gbnf").write_text('root ::= "a very long answer"')
    (board.home / "a schema.json").write_text('{"type": "string", "pattern": "^(?=a)"}')
    done = board.run("run_decoder.sh", *words, "--schema", "a schema.json", expect=2)
    assert "pattern ^(?=a) is not supported" in done.stderr
    assert done.stdout == ""
    cut = board.run("run_decoder.sh", *words, "--grammar", "grammar.gbnf", "--tokens", 2, expect=1)
    assert cut.stdout.strip()
    assert "the answer was cut, after 2 tokens" in cut.stderr
    assert "not have the form" in cut.stderr


@pytest.mark.full
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


def test_a_saved_prompt_of_another_model_is_refused(board: Board, model: Path) -> None:
    stand_in(board.programs / "bin" / "llama-completion", 'touch cache; printf "yes [end of text]\\n\\n\\n"')
    other = Path(shutil.copyfile(model, board.home / "same bytes.gguf"))
    words = ("--prompt-cache", "cache", "bonjour")
    for file in (model, model, other):
        assert board.run("run_decoder.sh", file, *words).stdout == "yes\n"
    with other.open("ab") as file:
        file.write(b"others now")
    said = board.run("run_decoder.sh", other, *words, expect=2).stderr
    assert "cache was kept for another model" in said
    assert board.run("run_decoder.sh", model, *words).stdout == "yes\n"
    (board.home / "cache.model").unlink()
    assert "cache.model, which says so, is missing" in board.run("run_decoder.sh", model, *words, expect=2).stderr


def test_a_schema_that_llama_cpp_would_hold_to_in_part_is_refused(board: Board, model: Path) -> None:
    stand_in(board.programs / "bin" / "llama-completion", "exit 9")
    for schema, passed in (
        ({"propertyNames": {"maxLength": 2}, "properties": {"a": {"not": {}}}}, "not, propertyNames"),
        ({"allOf": [{"$defs": {"if": {"uniqueItems": True}}}]}, "uniqueItems"),
        ({"properties": {"not": {"const": {"if": "contains"}}, '"if': {"enum": [{"then": 1}]}}, "title": "not"}, ""),
    ):
        (board.home / "schema.json").write_text(json.dumps(schema, indent=1))
        done = board.run("run_decoder.sh", "--schema", "schema.json", "--dry-run", model, "a", expect=2 if passed else 0)
        assert not passed or f"says {passed}, which" in done.stderr


SYSTEM = 'Sois bref, "it\'s" \\n $HOME {{ x }} %}\n\t{"é": 1}\n'


def test_a_student_is_told_what_it_was_trained_under(board: Board, tmp_path: Path) -> None:
    stand_in(board.programs / "bin" / "llama-completion",
             'for word; do printf "%s\\0" "$word"; done >"$HOME/told"; printf "yes [end of text]\\n\\n\\n"')  # fmt: skip

    def told(file: Path, *words: str) -> tuple[str | None, str]:
        said = board.run("run_decoder.sh", *words, file, "bonjour").stderr
        line = (board.home / "told").read_bytes().decode().split("\0")
        return line[line.index("--system-prompt") + 1] if "--system-prompt" in line else None, said

    contract = pillm.Contract(system=SYSTEM)
    keys = {"pillm.contract": contract.hash}
    alone = with_keys(TINY, tmp_path / "alone.gguf", **keys, **{"pillm.asked": "after pillm.system", "pillm.system": SYSTEM})
    system, said = told(alone)
    assert system == SYSTEM
    assert "from the file itself" in said
    assert told(alone, "--no-system") == (None, "")
    assert told(alone, "--system", "other") == ("other", "")
    assert told(with_keys(TINY, tmp_path / "plain.gguf", **keys, **{"pillm.asked": "as it is"})) == (None, "")
    varied = with_keys(TINY, tmp_path / "varied.gguf", **keys, **{"pillm.asked": "each row in its own way"})
    assert "had a system message of its own" in told(varied)[1]
    older = with_keys(TINY, tmp_path / "older.gguf", **keys)
    assert "no contract.json beside" in told(older)[1]
    contract.save(tmp_path / "contract.json")
    system, said = told(older)
    assert system == SYSTEM
    assert str(tmp_path / "contract.json") in said
    pillm.Contract(system="of another").save(tmp_path / "contract.json")
    system, said = told(older)
    assert system is None
    assert "belongs to another model" in said


def test_a_model_that_answers_nothing_is_refused(board: Board, tmp_path: Path) -> None:
    bert = with_keys(TINY, tmp_path / "bert.gguf", **{"general.architecture": "bert"})
    for words in (("run_decoder.sh", bert, "a"), ("run_decoder.sh", "--serve", bert)):
        said = board.run(*words, expect=2).stderr
        assert "turns texts into vectors (bert) and answers nothing. Embed with it: run_encoder.sh" in said


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
        (("--system", "a", "--system-file", "model.gguf"), "one of --system, --system-file"),
        (("--schema", "model.gguf", "--grammar", "model.gguf"), "--schema or --grammar"),
        (("--serve", "--system", "a"), "--serve brings"),
        (("--no-system", "--system", "a"), "one of --system, --system-file and --no-system"),
        (("--tokens", "0"), "--tokens needs a whole number from 1 on"),
        (("--port", "99999"), "--port needs a whole number up to 65535"),
    ],
)
def test_choices_that_cannot_be_met_are_refused(board: Board, words: tuple[str, ...], complaint: str) -> None:
    shutil.copyfile(TINY, board.home / "model.gguf")
    assert complaint in board.run("run_decoder.sh", "model.gguf", *words, expect=2).stderr
