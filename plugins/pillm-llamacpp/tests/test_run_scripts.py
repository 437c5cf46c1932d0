"""The scripts that run a model on the board: their flags held against the real programs, their endings put in words."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pillm_llamacpp.building.targets import PROGRAMS
from pillm_llamacpp.command import _parser
from pillm_llamacpp_boardtools import ROOT, RPI4, Board, flags, known, need, options, printed, script, stand_in

import pillm

TINY = RPI4 / "selftest" / "tiny.gguf"
SHARED = [RPI4 / "steps.sh", RPI4 / "pinned.sh", RPI4 / "header.sh"]
SCRIPTS = sorted(path for path in RPI4.rglob("*.sh") if path not in SHARED)


def test_every_script_passes_shellcheck() -> None:
    need("shellcheck")
    done = subprocess.run(["shellcheck", "-x", *map(str, [*SCRIPTS, *SHARED])], capture_output=True, text=True, check=False)
    assert done.stdout == ""


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_every_script_tells_its_options_and_refuses_others(path: Path, board: Board) -> None:
    name = str(path.relative_to(RPI4))
    told = options(board.run(name, "--help").stdout)
    text = "\n".join(file.read_text() for file in (path, *SHARED))
    assert {
        option for option in told if not re.search(rf"(\$|\${{|give .+ ){option[2:].replace('-', '_').upper()}\b", text)
    } == set()
    assert "--dry-run" in told
    said = board.run(name, "--no-such-option", expect=2).stderr
    assert "unrecognized option '--no-such-option'" in said
    assert f"see {path.name} --help" in said
    assert board.listing() == {}


@pytest.mark.parametrize("page", ["rpi4/README.md", "docs/how-to/run-on-a-pi.md"])
def test_the_pages_use_scripts_and_options_that_there_are(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    commands = re.findall(r"rpi4/([\w/]+\.sh)((?: --[a-z-]+)*)", text)
    assert len(commands) > 1
    for name, words in commands:
        assert set(words.split()) <= options((RPI4 / name).read_text()), (name, words)
    for words in re.findall(r"pillm-llamacpp( build[^`\n]*)", text):
        assert _parser().parse_args(words.split()).target == "pi4"


@pytest.mark.parametrize(
    ("name", "told", "words"),
    [
        ("run_decoder.sh", ("--dry-run", "--tokens", "7", "--threads", "3"), ("{}", "two words; $(touch evil)")),
        ("run_encoder.sh", ("--pooling", "mean", "--json", "--dry-run"), ("{}", "it's")),
        ("bench/run.sh", ("--pp", "8,16", "--dry-run", "--out", "a b.json"), ("{}",)),
    ],
)
def test_options_may_stand_before_the_file_and_after_it(
    board: Board, model: Path, name: str, told: tuple[str, ...], words: tuple[str, ...]
) -> None:
    for one in PROGRAMS:
        stand_in(board.programs / "bin" / one, "exit 9")
    file, *rest = (str(model) if word == "{}" else word for word in words)
    before, after, between = ([*told, file, *rest], [file, *rest, *told], [file, *told, *rest])
    (line,) = {printed(board.run(name, *line)) for line in (before, after, between)}
    assert all(f" {word} " in f"{line} " for word in told if word.isdigit())


def test_options_are_read_in_every_language(board: Board, model: Path, tmp_path: Path) -> None:
    need("localedef")
    if not Path("/usr/share/i18n/locales/tr_TR").is_file():
        pytest.skip("not installed: the sources of the locales, package locales")
    subprocess.run(["localedef", "-i", "tr_TR", "-f", "UTF-8", str(tmp_path / "tr_TR.UTF-8")], check=True)
    stand_in(board.programs / "bin" / "llama-bench", "exit 9")
    turkish = {"LOCPATH": str(tmp_path), "LC_ALL": "tr_TR.UTF-8"}  # whose letters between A and Z are without I
    assert "--n-prompt 8" in printed(board.run("bench/run.sh", model, "--pp", 8, "--dry-run", **turkish))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30))
def test_a_prompt_reaches_the_program_as_it_was_written(board: Board, model: Path, prompt: str) -> None:
    stand_in(board.programs / "bin" / "llama-completion", 'for word; do printf "%s\\0" "$word"; done >"$HOME/told"; echo; echo')
    board.run("run_decoder.sh", "--tokens", 5, "--", model, prompt)
    given_after_hyphens = (board.home / "told").read_bytes()
    assert given_after_hyphens.decode().split("\0")[-2] == prompt
    if not prompt.startswith("-"):
        board.run("run_decoder.sh", model, prompt, "--tokens", 5)
        assert (board.home / "told").read_bytes() == given_after_hyphens


@pytest.fixture
def model(board: Board) -> Path:
    path = board.home / "it's a $(touch evil) model.gguf"
    shutil.copyfile(TINY, path)
    return path


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("run_decoder.sh {} prompt", "llama-completion"), ("run_decoder.sh {}", "llama-completion"),
        ("run_decoder.sh --serve --key-file {} {}", "llama-server"),
        ("run_decoder.sh --system x --schema {} --prompt-cache c --kv-type q8_0 {} p", "llama-completion"),
        ("run_decoder.sh --temperature 0.5 --seed 0 --no-system {} p", "llama-completion"),
        ("run_decoder.sh --system-file {} --grammar {} {} prompt", "llama-completion"),
        ("run_encoder.sh --pooling mean {} text", "llama-server"),
        ("bench/run.sh {}", "llama-bench"),
    ],
)  # fmt: skip
def test_every_flag_is_one_that_the_program_of_the_board_has(board: Board, model: Path, command: str, name: str) -> None:
    board.has(name)
    words = [str(model) if word == "{}" else word for word in command.split()]
    line = printed(board.run(words[0], "--dry-run", *words[1:]))
    used = flags(line)
    assert len(used) > 4
    assert [flag for flag in used if flag not in known(name)] == []


def test_the_answer_and_nothing_else_is_printed(board: Board, model: Path) -> None:
    board.has("llama-completion")
    prompt = 'Bonjour, \\n it\'s "$HOME" `touch evil`'
    said = board.run("run_decoder.sh", "--tokens", 12, "--threads", 1, model, prompt).stdout
    asked = pillm.Request(key="k", prompt=pillm.Prompt(id="p", messages=({"role": "user", "content": prompt},)),
                          messages=({"role": "user", "content": prompt},))  # fmt: skip
    with pillm.runner("local", max_tokens=12).open(pillm.ModelFile.of(model, "Q4_K_M")) as session:
        ((_, answer),) = session.answer(iter([asked]))
    assert isinstance(answer, pillm.Answer)
    assert said.strip() == answer.content.strip()
    assert not list(board.home.rglob("evil"))


@pytest.mark.parametrize(
    ("end", "complaint"),
    [
        ("kill -ILL $$", "built for another CPU"),
        ("kill -KILL $$", "memory ran out"),
        ("kill -SEGV $$", "crashed"),
        ("echo why it failed >&2; exit 7", "status 7"),
    ],
)
@pytest.mark.parametrize(
    "command", ["run_decoder.sh {} hello", "run_encoder.sh {} hello", "bench/run.sh {}", "run_decoder.sh --serve {}"]
)
def test_the_way_a_program_ends_is_put_in_words(board: Board, model: Path, end: str, complaint: str, command: str) -> None:
    words = [str(model) if word == "{}" else word for word in command.split()]
    for name in PROGRAMS:
        stand_in(board.programs / "bin" / name, end)
    said = board.run(*words, expect=1).stderr
    assert complaint in said
    assert ("why it failed" in said) is ("why" in end)
    for name in PROGRAMS:
        script(board.programs / "bin" / name, end)  # even asked for its help
    assert complaint in board.run(*words, expect=1).stderr


def test_why_a_program_failed_is_shown_and_its_chatter_is_not(board: Board, model: Path) -> None:
    chatty = "for n in $(seq 99); do echo line $n; done >&2"
    stand_in(board.programs / "bin" / "llama-completion", f"{chatty}; echo 'yes [end of text]'; echo; echo")
    done = board.run("run_decoder.sh", model, "hello")
    assert (done.stdout, done.stderr) == ("yes\n", "")
    stand_in(board.programs / "bin" / "llama-completion", f"{chatty}; exit 1")
    shown = board.run("run_decoder.sh", model, "hello", expect=1).stderr.splitlines()
    assert shown[:-1] == [f"line {number}" for number in range(85, 100)]
    assert "README.md is no GGUF file" in board.run("run_encoder.sh", RPI4 / "README.md", "hello", expect=2).stderr


def test_an_answer_that_was_cut_as_the_program_left_is_asked_for_again(board: Board, model: Path) -> None:
    counted = 'echo x >>"$HOME/turns"; [ $(wc -l <"$HOME/turns") -gt 2 ] || { printf "half an"; exit 0; }'
    stand_in(board.programs / "bin" / "llama-completion", f'{counted}\nprintf "half an answer [end of text]\\n\\n\\n"')
    assert board.run("run_decoder.sh", model, "hello").stdout == "half an answer\n"
    stand_in(board.programs / "bin" / "llama-completion", 'printf "half an"')
    assert "before its answer was written" in board.run("run_decoder.sh", model, "hello", expect=1).stderr


@pytest.mark.parametrize(
    ("command", "name", "vital", "spared"),
    [
        ("run_decoder.sh {} hello", "llama-completion", "--single-turn", "--simple-io"),
        ("run_decoder.sh --schema {} {} hello", "llama-completion", "--json-schema-file", "--jinja"),
        ("run_encoder.sh {} hello", "llama-server", "--pooling", "--no-warmup"),
        ("bench/run.sh {}", "llama-bench", "--n-gen", ""),
        ("run_decoder.sh --serve {}", "llama-server", "--no-slots", "--cache-ram"),
        ("run_decoder.sh --serve {}", "llama-server", "--cors-origins", "--load-mode"),
    ],
)
def test_a_flag_that_a_program_does_not_know_is_left_out_or_named(
    board: Board, model: Path, command: str, name: str, vital: str, spared: str
) -> None:
    words = [str(model) if word == "{}" else word for word in command.split()]
    stand_in(board.programs / "bin" / name, "exit 9", without=[spared])
    line = f"{printed(board.run(words[0], '--dry-run', *words[1:]))} "
    assert f" {vital} " in line
    assert not spared or f" {spared} " not in line
    stand_in(board.programs / "bin" / name, "exit 9", without=[vital])
    assert f"does not know {vital}. Build one that does" in board.run(*words, expect=4).stderr


def test_a_flag_that_was_renamed_has_the_name_that_the_program_knows(board: Board, model: Path) -> None:
    stand_in(board.programs / "bin" / "llama-completion", "exit 9", without=["--predict", "--temp"], more="--temperature")
    line = printed(board.run("run_decoder.sh", "--dry-run", "--tokens", 7, model, "hello"))
    assert "--n-predict 7" in line
    assert "--temperature 0" in line
    stand_in(board.programs / "bin" / "llama-server", "exit 9", without=["--no-ui"], more="--no-webui")
    assert " --no-webui " in printed(board.run("run_decoder.sh", "--dry-run", "--serve", model))


def test_without_the_programs_the_script_that_builds_them_is_named(board: Board, model: Path) -> None:
    for command in ("run_decoder.sh", "run_encoder.sh", "bench/run.sh"):
        assert "setup_pi.sh" in board.run(command, model, *(["x"] if "run_" in command else []), expect=4).stderr
    assert "there is no file" in board.run("run_decoder.sh", "nowhere.gguf", expect=2).stderr
    assert "whole number" in board.run("run_decoder.sh", "--tokens", "many", model, expect=2).stderr
