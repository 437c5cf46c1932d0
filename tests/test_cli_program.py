"""The program: its table of commands, and the one place where errors end."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillm import errors
from pillm.cli import program
from pillm.cli.program import COMMANDS, SUMMARIES
from pillm.plugins import FIRST_PARTY

if TYPE_CHECKING:
    from tests.conftest import Cli

COMMANDS_OF_THE_DESIGN = (
    "run label train export evaluate bench plan chat verify init data backends plugins schema doctor completion"
)


def test_help_lists_every_command_with_its_summary(cli: Cli) -> None:
    done = cli("--help")
    assert done.code == 0
    for name in COMMANDS_OF_THE_DESIGN.split():
        assert f"\n  {name} " in done.out


def test_the_table_names_exactly_the_modules_that_exist() -> None:
    folder = Path(program.__file__).parent
    assert sorted(SUMMARIES) == sorted(path.stem.removesuffix("_command") for path in folder.glob("*_command.py"))
    assert sum(len(section) for section in COMMANDS.values()) == len(SUMMARIES)


@pytest.mark.parametrize("name", SUMMARIES)
def test_every_command_has_help_and_json(cli: Cli, name: str) -> None:
    done = cli(name, "--help")
    assert done.code == 0
    assert "--json" in done.out or "COMMAND [ARGS]" in done.out, "a group's commands have it"


def test_a_misspelt_command_is_guessed(cli: Cli) -> None:
    done = cli("lable")
    assert done.code == 2
    assert "Did you mean 'label'?" in done.err


def test_no_command_at_all_shows_the_help(cli: Cli) -> None:
    assert cli().code == 2


def test_the_version_is_printed(cli: Cli) -> None:
    import pillm

    assert cli("--version").out == f"pillm {pillm.__version__}\n"


BAD_ROWS = {
    "not JSON": (b'{"user": "a"}\n{"user": "b"', ["rows.jsonl:2", "cut off", "Mend or remove"]),
    "not UTF-8": (b'{"user": "caf\xe9"}\n', ["rows.jsonl:1", "UTF-8"]),
    "no user": (b'{"assistant": "b"}\n', ["rows.jsonl:1", "'user'"]),
    "duplicate ids": (b'{"id": "a", "user": "b"}\n{"id": "a", "user": "c"}\n', ["rows.jsonl:2", "rows.jsonl:1", "unique"]),
    "a list": (b'["a"]\n', ["rows.jsonl:1", "list"]),
    "an unknown schema": (b'{"user": "a", "schema": "nosuch"}\n', ["rows.jsonl:1", "nosuch"]),
    "nothing": (b"", ["no rows"]),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_wrong_row_ends_with_2_and_one_sentence_that_names_its_line(cli: Cli, fakes: Path, tmp_path: Path, case: str) -> None:
    content, words = BAD_ROWS[case]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    done = cli("label", path, "--teacher", "echo", "--out", tmp_path / "out")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Error: ")
    assert done.err.count("\n") == 1
    assert all(word in done.err for word in words), done.err
    assert not (tmp_path / "out").exists()


BAD_WORDS = {
    "an unknown teacher": (["--teacher", "ecko"], 2, "Did you mean 'echo'?"),
    "a misspelt option": (["--teacher", "echo", "-o", "windw=2"], 2, "Did you mean 'window'?"),
    "a wrong value": (["--teacher", "echo", "-o", "window=many"], 2, "option 'window'"),
    "no assignment": (["--teacher", "echo", "-o", "window"], 2, "name=value"),
    "an unknown filter": (["--teacher", "echo", "--filter", "dorp"], 2, "Did you mean 'drop'?"),
    "a missing option": ([], 2, "--teacher"),
    "an unknown state": (["--teacher", "echo", "--retry", "tired"], 2, "tired"),
    "an env file that is not there": (["--teacher", "echo", "--env-file", "nosuch"], 2, "nosuch"),
}


@pytest.mark.parametrize("case", BAD_WORDS)
def test_wrong_words_end_with_their_code_and_a_remedy(cli: Cli, fakes: Path, rows: Path, tmp_path: Path, case: str) -> None:
    words, code, said = BAD_WORDS[case]
    done = cli("label", rows, "--out", tmp_path / "out", *words)
    assert done.code == code
    assert said in done.err
    assert not (tmp_path / "out").exists()


def test_a_missing_plugin_says_how_to_get_one(cli: Cli, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FIRST_PARTY, "pillm-moon", {"teacher": ("moon",)})
    done = cli("label", rows, "--teacher", "moon", "--out", tmp_path / "out")
    assert done.code == 4
    assert "pip install ./plugins/pillm-moon" in done.err


def test_json_prints_errors_as_the_one_document(cli: Cli, fakes: Path, rows: Path, tmp_path: Path) -> None:
    done = cli("label", rows, "--teacher", "ecko", "--out", tmp_path / "out", "--json")
    assert done.json["error"]["kind"] == "UnknownBackend"
    assert done.json["error"]["exit_code"] == done.code == 2
    usage = cli("label", "--json")
    assert usage.json["error"]["exit_code"] == usage.code == 2


@pytest.mark.parametrize(
    "kind", [kind for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")]
)
def test_every_error_of_the_tree_ends_with_its_code(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    def fail(*_: object) -> None:
        raise kind("what happened")

    monkeypatch.setattr("pillm.cli.plugins_command.registry", fail)
    done = cli("plugins")
    assert done.code == kind.exit_code  # type: ignore[attr-defined]
    assert "what happened" in done.err
    assert "Traceback" not in done.err


def test_a_full_disk_is_a_sentence_and_a_bug_keeps_its_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/x")

    def blunder(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("pillm.cli.plugins_command.registry", fill)
    done = cli("plugins")
    assert done.code == 1
    assert "/tmp/x: no space is left on the disk" in done.err
    monkeypatch.setattr("pillm.cli.plugins_command.registry", blunder)
    with pytest.raises(ZeroDivisionError):
        program.main(["plugins"])


def test_a_place_that_cannot_be_made_is_a_sentence(cli: Cli, fakes: Path, rows: Path) -> None:
    done = cli("label", rows, "--teacher", "echo", "--out", "/proc/x")
    assert done.code == 1
    assert done.err.startswith("Error: /proc/x: it does not exist")


@pytest.mark.parametrize("name", ["EEXIST", "ENOENT", "ENOTDIR", "ENOTEMPTY", "ELOOP", "EIO"])
def test_what_a_file_system_refuses_is_a_sentence(cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def refuse(*_: object) -> None:
        raise OSError(getattr(errno, name), "no", "/tmp/x")

    monkeypatch.setattr("pillm.cli.plugins_command.registry", refuse)
    done = cli("plugins")
    assert (done.code, done.err.startswith("Error: /tmp/x: ")) == (1, True)


def test_words_that_are_not_utf_8_are_refused_with_one_sentence(tmp_path: Path) -> None:
    words = ["chat", "x.gguf", "--system", b"caf\xe9"]
    done = subprocess.run([sys.executable, "-m", "pillm", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: word 4 of the command line is not UTF-8")
    assert done.stderr.count("\n") == 1


def test_an_interrupt_ends_with_130(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pillm.cli.plugins_command.registry", stop)
    done = cli("plugins")
    assert done.code == 130
    assert "the same command resumes" in done.err


def test_sigterm_ends_a_real_process_with_130(fakes: Path, tmp_path: Path) -> None:
    (tmp_path / "x.table").write_text('{"user: hello": "hi"}', "utf-8")
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = [sys.executable, "-m", "pillm", "chat", str(tmp_path / "x.table")]
    with subprocess.Popen(command, **pipes, env={**os.environ, "PYTHONPATH": str(fakes)}) as process:  # type: ignore[call-overload]
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"hi\n"  # now it waits for the next line
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == b"Interrupted. What was finished is kept; the same command resumes."


def test_a_closed_pipe_is_quiet() -> None:
    command = f"{sys.executable} -m pillm schema row | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
