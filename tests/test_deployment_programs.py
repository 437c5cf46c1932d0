"""What llama.cpp's programs call their options, as their own help tells it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pillm
from pillm import LlamaProgram, find_llama_program
from pillm.deployment.programs import read_help, read_version
from pillm.testing import LoopbackBoard
from pillm.testing.standin import write_stand_in

OLD_VERSION = "version: 4589 (eb7cf15a)\nbuilt with cc (Debian 12.2.0-14) 12.2.0 for aarch64-linux-gnu\n"
OLD = """----- common params -----

-h,    --help, --usage                  print usage and exit
--version                               show version and build info
-t,    --threads N                      number of threads to use during generation (default: -1)
                                        (env: LLAMA_ARG_THREADS)
-tb,   --threads-batch N                number of threads to use during batch and prompt processing (default:
                                        same as --threads)
-c,    --ctx-size N                     size of the prompt context (default: 4096, 0 = loaded from model)
-b,    --batch-size N                   logical maximum batch size (default: 2048)
-ub,   --ubatch-size N                  physical maximum batch size (default: 512)
-fa,   --flash-attn                     enable Flash Attention (default: disabled)
-ctk,  --cache-type-k TYPE              KV cache data type for K
--mlock                                 force system to keep model in RAM rather than swapping or compressing
--no-mmap                               do not memory-map model (slower load but may reduce pageouts if not
                                        using mlock)
-m,    --model FNAME                    model path (default: `models/$filename` with filename from `--hf-file`
-ngl,  --gpu-layers, --n-gpu-layers N   number of layers to store in VRAM
-np,   --parallel N                     number of parallel sequences to decode (default: 1)
--host HOST                             ip address to listen (default: 127.0.0.1)
--no-webui                              Disable the Web UI (default: enabled)
--embedding, --embeddings               restrict to only support embedding use case
--slots                                 enable slots monitoring endpoint (default: disabled)
--pooling {none,mean,cls,last,rank}     pooling type for embeddings, use model default if unspecified
-lv,   --verbosity, --log-verbosity N   Set the verbosity threshold.
--draft-n N                             the argument has been removed. use --spec-draft-n-max
"""
OLDEST = """usage: ./main [options]

options:
  -h, --help            show this help message and exit
  -t N, --threads N     number of threads to use during computation (default: 4)
  --mlock               force system to keep model in RAM
"""


def old() -> LlamaProgram:
    return LlamaProgram(path="llama-server", version=read_version(OLD_VERSION), flags=read_help(OLD))


def test_an_option_is_spelt_as_this_build_does() -> None:
    told = {"--load-mode": "MODE", "--no-ui": "", "--flash-attn": "[on|off|auto]"}
    new = LlamaProgram(path="llama-server", version="0.5.0", flags=told)
    assert old().words(mlock=True) == ["--mlock"]
    assert new.words(mlock=True) == ["--load-mode", "mlock"]
    assert old().words(no_mmap=True, mlock=True) == ["--no-mmap", "--mlock"]
    assert new.words(no_mmap=True, mlock=True) == ["--load-mode", "mlock"]
    assert (old().words(no_ui=True), new.words(no_ui=True)) == (["--no-webui"], ["--no-ui"])
    assert [old().words(flash_attn=value) for value in ("on", "off", "auto")] == [["--flash-attn"], [], []]
    assert new.words(flash_attn="off") == ["--flash-attn", "off"]
    bench = LlamaProgram(path="llama-bench", version="0.5.0", flags=read_help("  -fa, --flash-attn <0|1>    (default: 0)"))
    assert bench.words(flash_attn="on") == ["--flash-attn", "1"]
    assert old().words(threads=None, offline=False) == []


def test_what_a_build_does_not_have_is_an_error_that_names_the_version() -> None:
    with pytest.raises(
        pillm.ConfigError, match=r"llama-server \(llama\.cpp b4589\) has no option for 'cache_ram'.*--cache-ram"
    ):
        old().words(cache_ram=0)
    with pytest.raises(pillm.ConfigError, match="'mlocks' is no option"):
        old().words(mlocks=True)


def test_serving_leaves_out_what_an_old_build_cannot_switch_off() -> None:
    words, lacking = old().serving(model="m.gguf", host="s", context=64, parallel=1, threads=None)
    asked = ["--model", "m.gguf", "--host", "s", "--ctx-size", "64", "--parallel", "1"]
    assert words == [*asked, "--no-webui", "--log-verbosity", "2"]
    assert lacking == ["--ctx-checkpoints", "--no-slots", "--cors-origins", "--offline"]
    with pytest.raises(pillm.ConfigError, match="main does not know --host, --ctx-size, --parallel: it is no llama-server"):
        LlamaProgram(path="main", version="unknown", flags={**read_help(OLDEST), "--model": "M"}).serving(model="m.gguf")


def test_versions_are_read_in_both_forms() -> None:
    assert read_version(OLD_VERSION) == "b4589"
    assert read_version("version: 0.5.0-dev (build 1, commit 0c1e57098)") == "0.5.0-dev"
    assert read_version("version: b4589 (eb7cf15a)") == "b4589"
    assert read_version("error: invalid argument: --version") == "unknown"


def test_every_form_of_help_is_read() -> None:
    told = read_help(OLD)
    assert (told["-tb"], told["--threads-batch"], told["--mlock"], told["--n-gpu-layers"]) == ("N", "N", "", "N")
    assert "--draft-n" not in told
    assert read_help(OLDEST) == {"-h": "", "--help": "", "-t": "N", "--threads": "N", "--mlock": ""}


@given(st.text())
def test_no_text_is_too_odd_to_be_read_as_help(text: str) -> None:
    assert all(name.startswith("-") for name in read_help(text))
    read_version(text)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pillm" / "programs"


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_program_is_asked_once_and_anew_when_its_bytes_change(board: LoopbackBoard, cache: Path) -> None:
    server = write_stand_in(board.home / ".local" / "bin" / "llama-server")
    with board.remote() as remote:
        found = find_llama_program(remote, "llama-server")
        assert (found.path, found.knows("parallel"), found.knows("mlock")) == (str(server), True, False)
        (kept,) = cache.iterdir()
        kept.write_text('{"told": "version: b1 (x)\\n-h, --help  usage"}')
        assert find_llama_program(remote, str(server)).version == "b1"
        server.write_text(f"{server.read_text()}# another build\n")
        assert find_llama_program(remote, "llama-server") == found


def test_what_is_no_llama_cpp_or_cannot_run_is_told(board: LoopbackBoard, cache: Path) -> None:
    here, home = pillm.LocalMachine(), board.home
    with pytest.raises(pillm.DataError, match="is no program of llama"):
        find_llama_program(here, script(home / "other", "echo hello"))
    with pytest.raises(pillm.BackendError, match=r"broken failed: it was built for another CPU"):
        find_llama_program(here, script(home / "broken", "kill -ILL $$"))
    with (
        board.remote() as remote,
        pytest.raises(pillm.MissingDependency, match=r"board has no llama-nowhere .*rpi4/README\.md"),
    ):
        find_llama_program(remote, "llama-nowhere")
    for name in ("", "-x", "a\nb", "a\0b"):
        with pytest.raises(pillm.ConfigError, match="is no program"):
            find_llama_program(here, name)
    assert not cache.exists()
