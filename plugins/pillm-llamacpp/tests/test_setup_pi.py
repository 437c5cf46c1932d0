"""setup_pi.sh: every step on a recorded board, whose programs are real ones played by qemu."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from pillm_llamacpp import source
from pillm_llamacpp.building.emulation import QEMU
from pillm_llamacpp.building.targets import PLAIN, PROGRAMS
from pillm_llamacpp_boardtools import CROSS, RPI4, Board, flags, known, need, program, script, wrapped
from pillm_llamacpp_loopback import Hub

import pillm

SELF_TEST = (RPI4 / "selftest" / "expected.txt").read_text().rstrip("\n")


@pytest.fixture
def builder(board: Board) -> Board:
    """Return a board whose cmake puts the programs in place that were built before: compiling them takes minutes."""
    need("ninja", "c++")
    places = "\n".join(f"cp '{wrapped(program(name), board.root / 'made')}' \"$3.made\"" for name in PROGRAMS[:1])
    script(
        board.bin / "cmake",
        f'echo "cmake $*" >>"{board.root}/cmake.log"\n[ "$1" = --build ] || exit 0\nmkdir -p "$2/bin"\n{places}\n'
        f'for one in {" ".join(PROGRAMS)}; do cp "{board.root}/made/{PROGRAMS[0]}" "$2/bin/$one"; done'.replace(
            '"$3.made"', "/dev/null"
        ),
    )
    return board


def test_it_builds_the_pinned_source_with_the_switches_of_every_build() -> None:
    assert f"VERSION={source.VERSION}\nCOMMIT={source.COMMIT}\nSHA256={source.SHA256}\n" in (RPI4 / "pinned.sh").read_text()
    text = (RPI4 / "setup_pi.sh").read_text()
    switches = dict(re.findall(r"(\w+)=(\w+)", text.replace("$COMMIT", source.COMMIT).partition("SWITCHES=")[2]))
    assert {name: switches.get(name) for name in PLAIN} == PLAIN
    assert switches["GGML_NATIVE"] == "ON"
    assert re.search(r"PROGRAMS='([^']*)'", text)[1].split() == list(PROGRAMS)  # type: ignore[index]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Return an archive of the source's name whose build tool is nowhere to be had, and which would run code of its own."""
    folder = tmp_path / "links"
    folder.mkdir()
    with tarfile.open(folder / f"llama_cpp_python-{source.VERSION}.tar.gz", "w:gz") as tar:
        files = {
            "pyproject.toml": "[build-system]\n"
            'requires = ["scikit-build-core[pyproject]>=0.9.2"]\n'
            'build-backend = "scikit_build_core.build"\n',
            "setup.py": f"open({str(tmp_path / 'evil')!r}, 'w')\n",
            "vendor/llama.cpp/CMakeLists.txt": "",
        }
        for name, text in files.items():
            member = tarfile.TarInfo(f"llama_cpp_python-{source.VERSION}/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return folder / f"llama_cpp_python-{source.VERSION}.tar.gz"


def test_the_archive_comes_by_pip_without_running_anything_from_the_network(
    builder: Board, archive: Path, tmp_path: Path
) -> None:
    told = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(archive.parent), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    refused = builder.run("setup_pi.sh", "--no-packages", expect=5, **told).stderr
    assert "DO NOT MATCH THE HASHES" in refused
    scripts = shutil.copytree(RPI4, tmp_path / "rpi4")
    pinned = (scripts / "pinned.sh").read_text().replace(source.SHA256, pillm.sha256_file(archive))
    (scripts / "pinned.sh").write_text(pinned)
    said = builder.run(str(scripts / "setup_pi.sh"), "--no-packages", **told).stderr
    assert "self-test passed" in said
    assert "--require-hashes" in said
    assert "--no-build-isolation" in said
    assert not (tmp_path / "evil").exists()
    assert [path for path in builder.listing() if ".pip" in path] == []
    (builder.bin / "pip3").write_text("#!/bin/sh\necho what pip said >&2\nexit 1\n")
    (builder.bin / "pip3").chmod(0o755)
    assert "what pip said" in builder.run("setup_pi.sh", "--no-packages", "--prefix", tmp_path / "p", expect=5).stderr


def test_a_dry_run_prints_every_step_and_changes_nothing(builder: Board) -> None:
    said = builder.run("setup_pi.sh", "--dry-run", "--url", "https://example.invalid/a.tar.gz").stderr
    assert builder.listing() == {}
    assert not (builder.root / "cmake.log").exists()
    steps = [shlex.split(line)[1] for line in said.splitlines() if line.startswith("+ ")]
    assert steps.index("curl") < steps.index("tar") < steps.index("cmake") < steps.index("record")
    assert "Raspberry Pi 4 Model B Rev 1.4, 1848 MiB of memory, compiling 2 files at once" in said
    assert "there is no swap" in said
    assert said.endswith("nothing was changed\n")


@pytest.mark.full
def test_a_folder_of_ones_own_is_told_with_what_makes_the_other_scripts_find_it(builder: Board, tmp_path: Path) -> None:
    mine = tmp_path / "my programs"
    words = ("setup_pi.sh", "--source", source.archive_path(), "--prefix", mine)
    assert f"export PILLM_LLAMACPP='{mine}'" in builder.run(*words).stderr
    line = builder.run("run_decoder.sh", "--dry-run", RPI4 / "selftest" / "tiny.gguf", "a", PILLM_LLAMACPP=str(mine)).stderr
    assert f"'{mine}/bin/llama-completion'" in line


def test_compiling_with_no_job_at_all_is_refused(board: Board) -> None:
    assert "--jobs needs a whole number from 1 on" in board.run("setup_pi.sh", "--jobs", 0, expect=2).stderr


def test_it_ends_with_known_words_and_finds_everything_in_place_the_second_time(builder: Board) -> None:
    (builder.root / "etc" / "rpi").mkdir(parents=True)
    (builder.root / "etc" / "rpi" / "swap.conf").touch()
    said = builder.run("setup_pi.sh", "--source", source.archive_path()).stderr
    assert "self-test passed: 32 tokens" in said
    assert "rpi-swap looks after the swap" in said
    assert sorted(path.name for path in (builder.programs / "bin").iterdir()) == sorted(PROGRAMS)
    assert not (builder.programs / ".work").exists()
    before = builder.listing()
    again = builder.run("setup_pi.sh", "--source", source.archive_path()).stderr
    assert "nothing to build" in again
    assert "self-test passed" in again
    assert builder.listing() == before
    # another build is another build
    assert "GGML_BLAS=ON" in builder.run("setup_pi.sh", "--dry-run", "--with-blas").stderr


def test_a_program_that_computes_wrongly_or_for_another_board_is_found_out(builder: Board) -> None:
    script(builder.root / "made" / PROGRAMS[0], "echo ' at kitchen small reads'; echo")
    said = builder.run("setup_pi.sh", "--source", source.archive_path(), expect=1).stderr
    assert f"the programs compute wrongly on this board. Expected '{SELF_TEST}', and they said ' at kitchen" in said
    script(builder.programs / "bin" / PROGRAMS[0], "kill -ILL $$")
    sums = subprocess.run(["sha256sum", *PROGRAMS], cwd=builder.programs / "bin", capture_output=True, text=True, check=True)
    (builder.programs / "SHA256SUMS").write_text(sums.stdout)
    assert "built for another CPU (illegal instruction)" in builder.run("setup_pi.sh", expect=1).stderr


def test_an_archive_that_is_not_the_pinned_one_is_not_opened(builder: Board, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong one.tar.gz"
    wrong.write_bytes(b"not the source")
    said = builder.run("setup_pi.sh", "--source", wrong, expect=6).stderr
    assert f"not the pinned {source.SHA256}" in said
    assert wrong.is_file()
    assert not (builder.root / "cmake.log").exists()
    assert "+ tar" not in said


def test_a_download_is_checked_before_it_is_opened(builder: Board, hub: Hub) -> None:
    need("curl")
    said = builder.run("setup_pi.sh", "--url", f"{hub.url}/a/model.gguf", expect=6).stderr
    assert "It was not opened" in said
    assert builder.listing() == {}
    assert "could not be downloaded" in builder.run("setup_pi.sh", "--url", f"{hub.url}/missing", expect=5).stderr


def test_an_interrupted_download_goes_on_where_it_was(builder: Board, hub: Hub) -> None:
    hub.break_after = 30_000
    assert "what came is kept" in builder.run("setup_pi.sh", "--url", f"{hub.url}/source", expect=5).stderr
    hub.break_after = None
    assert "not the pinned" in builder.run("setup_pi.sh", "--url", f"{hub.url}/source", expect=6).stderr
    assert hub.served == len(hub.body)


def test_an_archive_that_came_whole_before_a_kill_is_not_downloaded_again(builder: Board, hub: Hub) -> None:
    part = builder.programs / ".work" / f"llama_cpp_python-{source.VERSION}.tar.gz.part"
    part.parent.mkdir(parents=True)
    part.symlink_to(source.archive_path())
    said = builder.run("setup_pi.sh", "--url", f"{hub.url}/source", "--dry-run").stderr
    assert "+ curl" not in said
    assert "+ tar" in said


def test_an_interrupted_build_goes_on_where_it_was(builder: Board) -> None:
    working = (builder.bin / "cmake").read_text()
    script(builder.bin / "cmake", "exit 1")
    assert "cmake failed" in builder.run("setup_pi.sh", "--source", source.archive_path(), expect=1).stderr
    assert not (builder.programs / "made-of").exists()
    (builder.bin / "cmake").write_text(working)
    said = builder.run("setup_pi.sh", "--source", source.archive_path()).stderr
    assert "+ tar" not in said
    assert "self-test passed" in said


@pytest.mark.parametrize(
    ("uname", "bits", "complaint"),
    [("x86_64", "64", "pillm-llamacpp build"), ("armv7l", "32", "32-bit system"), ("aarch64", "32", "32-bit system")],
)
def test_another_machine_is_refused(board: Board, uname: str, bits: str, complaint: str) -> None:
    script(board.bin / "uname", f"echo {uname}")
    script(board.bin / "getconf", f"echo {bits}")
    assert complaint in board.run("setup_pi.sh", expect=2).stderr


def test_a_board_with_too_little_memory_or_disk_is_refused(board: Board) -> None:
    script(board.bin / "cmake", "exit 0")
    script(board.bin / "df", "echo Filesystem; echo /dev/sd 1 1 200000 1 /")
    assert "a build needs 1200 MB" in board.run("setup_pi.sh", "--no-packages", expect=1).stderr
    (board.root / "proc" / "meminfo").write_text("MemTotal: 460000 kB\n")
    assert "449 MiB of memory" in board.run("setup_pi.sh", expect=2).stderr
    assert board.listing() == {}


def test_missing_packages_are_named_and_installed_only_where_allowed(board: Board) -> None:
    for name in ("sed", "sh", "awk", "tr", "cut", "dirname", "basename", "cat", "getconf", "sha256sum", "grep", "getopt"):
        (board.bin / name).symlink_to(shutil.which(name) or name)
    script(board.bin / "id", "echo 1000")
    path = str(board.bin)
    assert (
        "missing: cmake g++ ninja-build curl. Get them with: sudo apt-get install"
        in board.run("setup_pi.sh", "--no-packages", "--url", "https://example.invalid/a", expect=4, PATH=path).stderr
    )
    assert "there is no sudo" in board.run("setup_pi.sh", expect=4, PATH=path).stderr


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_the_real_source_is_compiled_and_passes_its_own_test(board: Board) -> None:
    need("cmake", "ninja", CROSS, QEMU)
    real, cross = shutil.which("cmake"), board.root / "cross.cmake"
    names = "\n".join(f"set(CMAKE_{kind}_COMPILER aarch64-linux-gnu-{tool})" for kind, tool in (("C", "gcc"), ("CXX", "g++")))
    cross.write_text(f"set(CMAKE_SYSTEM_NAME Linux)\nset(CMAKE_SYSTEM_PROCESSOR aarch64)\n{names}\n")
    more = f"-DCMAKE_TOOLCHAIN_FILE={cross} -DCMAKE_EXE_LINKER_FLAGS=-static -DGGML_OPENMP=OFF -DGGML_CPU_ARM_ARCH=armv8-a+crc"
    script(
        board.bin / "cmake",
        f'[ "$1" = --build ] || exec {real} "$@" {more} -DGGML_NATIVE=OFF\n{real} "$@" || exit 1\n'
        f'for one in "$2"/bin/llama-*; do mv "$one" "{board.root}/$(basename "$one")"\n'
        f'printf \'#!/bin/sh\\nexec {QEMU} -cpu cortex-a72 "%s" "$@"\\n\' "{board.root}/$(basename "$one")" >"$one"\n'
        'chmod +x "$one"; done',
    )
    done = subprocess.run(
        [str(RPI4 / "setup_pi.sh"), "--source", str(source.archive_path())], capture_output=True, text=True, check=False,
        env={"HOME": str(board.home), "PATH": f"{board.bin}:/usr/bin:/bin", "PILLM_ROOT": str(board.root)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "self-test passed" in done.stderr


def test_the_self_test_uses_flags_that_the_program_has(builder: Board) -> None:
    said = builder.run("setup_pi.sh", "--dry-run").stderr
    (line,) = [line for line in said.splitlines() if "tiny.gguf" in line]
    assert [flag for flag in flags(line) if flag not in known("llama-completion")] == []
