"""serve.sh, which the package calls pillm-serve: what it starts on a recorded board, and what it refuses to start."""

from __future__ import annotations

import re
import shutil
import string
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pillm_llamacpp_boardtools import RPI4, Board, flags, known, printed

TINY = RPI4 / "selftest" / "tiny.gguf"
MEMORY = {
    910: {"--ctx-size": "1024", "--batch-size": "128", "--ubatch-size": "64", "--cache-ram": "0", "--ctx-checkpoints": "0"},
    1848: {"--ctx-size": "2048", "--batch-size": "256", "--ubatch-size": "128", "--cache-ram": "32", "--ctx-checkpoints": "1"},
    3790: {"--ctx-size": "2048", "--batch-size": "256", "--ubatch-size": "128", "--cache-ram": "64", "--ctx-checkpoints": "2"},
    7810: {"--ctx-size": "4096", "--batch-size": "256", "--ubatch-size": "128", "--cache-ram": "256", "--ctx-checkpoints": "4"},
}


def wants(board: Board, text: str, file: str = "pillm/serve.d/assistant.env") -> None:
    (board.root / "etc" / file).write_text(text)


def chosen(line: str) -> dict[str, str]:
    """Return the flags of a printed command with the word after each."""
    words = line.split()
    return {word: words[at + 1] if at + 1 < len(words) else "" for at, word in enumerate(words) if word.startswith("--")}


@pytest.mark.parametrize("mib", MEMORY)
def test_the_memory_of_the_board_decides_what_a_server_may_take(served: Board, mib: int) -> None:
    (served.root / "proc" / "meminfo").write_text(f"MemTotal:  {mib * 1024} kB\n")
    line = printed(served.run("serve.sh", "--dry-run", "assistant"))
    found = chosen(line)
    assert {name: found[name] for name in MEMORY[mib]} == MEMORY[mib]
    assert ("--no-repack" in found) is (mib < 3000)
    assert (found["--parallel"], found["--host"], found["--alias"]) == ("1", "127.0.0.1", "assistant")
    assert {"--no-ui", "--no-slots", "--offline"} < set(found)


def test_it_checks_every_flag_with_the_program_of_the_board(served: Board) -> None:
    served.has("llama-server")
    wants(served, "PILLM_OPTIONS=--seed 7\n")
    said = served.run("serve.sh", "--check", "assistant")
    count = len([flag for flag in flags(printed(said)) if flag.startswith("--")])
    assert count > 20
    assert f"{count} flags, all known to" in said.stderr
    assert "--api-key-file" in printed(said)
    for words in ("foo", "--jinja foo", "-Q 3", "--seed x", "--temp"):
        wants(served, f"PILLM_OPTIONS={words}\n")
        assert "Mend PILLM_OPTIONS" in served.run("serve.sh", "--check", "assistant", expect=2).stderr
    wants(served, "PILLM_OPTIONS=--no-such-flag\n")
    assert "does not know: --no-such-flag" in served.run("serve.sh", "--check", "assistant", expect=4).stderr


def test_the_server_gets_the_key_of_the_service_and_no_setting_from_the_environment(served: Board) -> None:
    said = served.run(
        "serve.sh", "assistant", CREDENTIALS_DIRECTORY="/run/credentials/one", LLAMA_ARG_HOST="0.0.0.0", LLAMA_API_KEY="k"
    ).stdout
    assert "--api-key-file\n/run/credentials/one/api-key\n" in said
    assert "LLAMA_" not in said
    assert "--host\n127.0.0.1\n" in said


def test_a_setting_of_the_model_beats_the_default_and_the_environment_beats_both(served: Board) -> None:
    wants(served, "# of all\nPILLM_PORT=8001\nPILLM_TOKENS=99\nPILLM_THREADS=2\n", "default/pillm-serve")
    wants(served, 'PILLM_PORT="8002"\nPILLM_TOKENS=77')
    found = chosen(printed(served.run("serve.sh", "--dry-run", "assistant", PILLM_TOKENS="55")))
    assert (found["--port"], found["--predict"], found["--threads"], found["--threads-batch"]) == ("8002", "55", "2", "2")


@pytest.mark.parametrize(
    ("text", "code", "complaint"),
    [
        ("PILLM_OPTIONS=--host 0.0.0.0\n", 6, "--host is not for a service"),
        ("PILLM_OPTIONS=--seed 1 --tools all\n", 6, "--tools is not for a service"),
        *(
            (f"PILLM_OPTIONS=--seed 1 {word} x\n", 6, f"{word} is not for a service")
            for word in (
                "-ag",
                "--slots",
                "--props",
                "--slot-save-path",
                "--slot_save_path",
                "--api_key",
                "--api-prefix",
                "--reuse-port",
                "--media-path",
                "--log-prompts-dir",
                "--ui",
                "--webui",
                "--cors-headers",
                "-m",
                "--model",
                "--alias",
            )
        ),
        *(
            (f"PILLM_OPTIONS={word} x\n", 6, f"{word} downloads a model")
            for word in (
                "-hf",
                "--hf_repo",
                "-mu",
                "--docker-repo",
                "--mmproj-url",
                "--fim-qwen-3b-default",
                "--fim-qwen-7b-spec",
            )
        ),
        ("\nPILLM_PROT=8080\n", 2, "assistant.env:2: 'PILLM_PROT' is no setting"),
        ("PILLM_PORT=http\n", 2, "PILLM_PORT needs a whole number"),
        ("PILLM_PORT=99999\n", 2, "PILLM_PORT needs a whole number up to 65535"),
        ("PILLM_CONTEXT=0\n", 2, "PILLM_CONTEXT needs a whole number from 1 on"),
        ("PILLM_TOKENS=123456789012345678901\n", 2, "PILLM_TOKENS is too large"),
        ("PILLM_SYSTEM=mine\n", 2, "PILLM_SYSTEM knows none"),
        ("PILLM_OPTIONS=-h\n", 2, "-h prints something and ends"),
        ("PILLM_OPTIONS=--version\n", 2, "--version prints something and ends"),
        ("PILLM_OPTIONS=--parallel 4\n", 2, "--parallel would share the context"),
        ("PILLM_OPTIONS=-c 99\n", 2, "a setting of its own: PILLM_CONTEXT"),
        ("PILLM_MODEL=/home/me/file.gguf\n", 2, "Files below /home are hidden"),
    ],
)
def test_a_setting_that_is_wrong_or_unsafe_is_refused_by_name(served: Board, text: str, code: int, complaint: str) -> None:
    wants(served, text)
    done = served.run("serve.sh", "assistant", expect=code)
    assert complaint in done.stderr
    assert done.stdout == ""


def test_every_flag_of_the_server_that_downloads_or_opens_a_door_is_refused(served: Board) -> None:
    door = re.compile(
        r"host|(?<!draft-)port|api-|ssl|cors|^--slots$|props|url|hf-repo|hf-file|download|-default$|tools|mcp|agent|ui($|-)|(models|prompts)-dir$"
    )
    words = sorted(word for word in known("llama-server") if door.search(word) and not word.startswith("--no-"))
    assert len(words) > 30
    through = []
    for word in words:
        done = subprocess.run(
            [str(RPI4 / "serve.sh"), "--dry-run", "assistant"], capture_output=True, text=True, check=False,
            env={"PATH": f"{served.bin}:/usr/bin:/bin",
                 "PILLM_ROOT": str(served.root), "HOME": str(served.home), "PILLM_OPTIONS": word},
        )  # fmt: skip
        if done.returncode != 6:
            through.append(word)
    assert through == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(string.printable + "é", max_size=30))
def test_nothing_in_a_file_of_settings_is_run(served: Board, text: str) -> None:
    wants(served, f"PILLM_OPTIONS=--seed $(touch {served.home}/evil) `touch {served.home}/evil` * {text}\n")
    words = [str(RPI4 / "serve.sh"), "--dry-run", "assistant"]
    done = subprocess.run(
        words, env={"PATH": f"{served.bin}:/usr/bin:/bin", "PILLM_ROOT": str(served.root), "HOME": str(served.home)},
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode in {0, 2, 6}
    assert not (served.home / "evil").exists()


@pytest.mark.parametrize("name", ["../root", "a/b", "-x", "", "a b", "$(id)", ".hidden", "é", "a\nb"])
def test_a_name_never_leaves_its_folder(served: Board, name: str) -> None:
    assert "is no name" in served.run("serve.sh", "--new-key", "--", name, expect=2).stderr
    assert not (served.root / "etc" / "pillm" / "keys").exists()


def test_a_key_is_made_once_for_its_owner_alone(served: Board) -> None:
    served.run("serve.sh", "--dry-run", "--new-key", "assistant")
    key = served.root / "etc" / "pillm" / "keys" / "assistant.key"
    assert not key.exists()
    served.run("serve.sh", "--new-key", "assistant")
    made = key.read_text()
    assert re.fullmatch(r"[0-9a-f]{64}", made)
    assert (key.stat().st_mode & 0o777, key.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert "there already" in served.run("serve.sh", "--new-key", "assistant", expect=2).stderr
    assert key.read_text() == made


@pytest.mark.parametrize(
    ("controllers", "void"), [("cpuset cpu io memory pids", False), ("cpuset cpu io pids", True), (None, True)]
)
def test_a_kernel_without_the_memory_controller_is_said_with_what_turns_it_on(
    served: Board, controllers: str | None, void: bool
) -> None:
    if controllers is not None:
        (served.root / "sys" / "fs" / "cgroup").mkdir(parents=True)
        (served.root / "sys" / "fs" / "cgroup" / "cgroup.controllers").write_text(f"{controllers}\n")
    said = served.run("serve.sh", "--check", "assistant").stderr
    assert ("MemoryHigh is void" in said and "cgroup_enable=memory" in said) is void


def test_a_file_that_only_root_may_read_is_told_with_what_mends_it(served: Board) -> None:
    model = served.root / "var" / "lib" / "pillm" / "models" / "assistant.gguf"
    model.chmod(0o600)
    assert f"sudo chmod a+r {model}" in served.run("serve.sh", "--check", "assistant").stderr
    model.chmod(0o644)
    assert "chmod" not in served.run("serve.sh", "--check", "assistant").stderr


def test_a_file_that_is_larger_than_the_memory_is_refused_and_a_large_one_told(served: Board) -> None:
    with (served.root / "var" / "lib" / "pillm" / "models" / "assistant.gguf").open("r+b") as file:
        file.truncate(1500 << 20)
        assert "has 1500 of 1848 MiB" in served.run("serve.sh", "--dry-run", "assistant").stderr
        file.truncate(1848 << 20)
        assert "each token would be read from the disk" in served.run("serve.sh", "assistant", expect=2).stderr


def test_the_program_of_the_package_is_found_where_none_was_built(served: Board) -> None:
    installed = served.root / "usr" / "lib" / "pillm" / "llamacpp"
    installed.parent.mkdir(parents=True)
    (served.programs / "bin").rename(installed)
    assert str(installed / "llama-server") in printed(served.run("serve.sh", "--dry-run", "assistant"))


def test_a_file_that_is_not_there_and_a_program_that_is_not_there_are_named(served: Board) -> None:
    assert "there is no file" in served.run("serve.sh", "other", expect=2).stderr
    shutil.rmtree(served.programs)
    assert "install the package pillm-llamacpp" in served.run("serve.sh", "assistant", expect=4).stderr
