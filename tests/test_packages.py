"""The Debian packages: unit, man page and contents; built, checked by lintian, and run on the boards' processors by qemu."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import pillm
from pillm.performance.benchmark import read_benchmark
from tests.debroot import DEBIAN, PRIVATE, PROGRAMS, QEMU, RPI4, Root, build, free_port, need, options_of, output, settings_of

UNIT = DEBIAN / "pillm-serve@.service"
MOST_EXPOSED = 1.5
VARIANTS = {
    name: f"libggml-cpu-armv{kind}.so"
    for name, kind in (("cortex-a53", "8.0_1"), ("cortex-a72", "8.0_1"), ("cortex-a76", "8.2_2"))
}
NOT_ON_A_BOARD = {"build_packages.sh", "selftest/make.py", "README.md"}


def heavy(test: Any) -> Any:
    """Mark a test that needs the packages; the first of them compiles llama.cpp."""
    return pytest.mark.full(pytest.mark.timeout(7200)(test))


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Return the unit as it will stand on a board, but for the program, which is not installed here."""
    need("systemd-analyze")
    path = tmp_path / UNIT.name.replace("@", "@assistant")
    path.write_text(UNIT.read_text().replace("/usr/bin/pillm-serve", "/bin/true"))
    return path


def test_the_unit_is_one_that_systemd_takes_without_a_word(unit: Path) -> None:
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    unit.write_text(unit.read_text().replace("MemoryHigh", "MemoryHihg"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert "MemoryHihg" in done.stderr


def test_the_unit_is_exposed_to_next_to_nothing(unit: Path) -> None:
    said = output("systemd-analyze", "security", "--offline=yes", "--no-pager", unit)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert found
    assert float(found[1]) <= MOST_EXPOSED


def test_the_service_has_a_key_stays_on_the_board_and_counts_as_started_once_it_answers() -> None:
    lines = UNIT.read_text().splitlines()
    wanted = (
        "LoadCredential=api-key:/etc/pillm/keys/%i.key", "IPAddressDeny=any", "IPAddressAllow=localhost", "DynamicUser=yes",
        "ExecStart=/usr/bin/pillm-serve -- %i", "ExecStartPost=/usr/bin/pillm-serve --wait -- %i",
    )  # fmt: skip
    assert [line for line in wanted if line not in lines] == []
    told = int(re.search(r"TimeoutStartSec=(\d+)", UNIT.read_text())[1])  # type: ignore[index]
    assert int(re.search(r"PILLM_WAIT:-(\d+)", (RPI4 / "serve.sh").read_text())[1]) < told  # type: ignore[index]


def test_the_man_page_tells_every_option_setting_and_size_and_no_other() -> None:
    page, text = (DEBIAN / "pillm-serve.8").read_text().replace("\\-", "-"), (RPI4 / "serve.sh").read_text()
    options = {*options_of(text), "--help"}
    assert "--check" in options
    assert {option for option in options if f".B {option}\n" not in page} == set()
    assert settings_of(page) == settings_of(text) == settings_of(text.partition("set -e")[0])
    assert settings_of((DEBIAN / "pillm-serve.default").read_text()) < settings_of(text)
    sizes = re.findall(r"CONTEXT=(\d+) BATCH=(\d+) UBATCH=(\d+) CACHE=(\d+) CHECKPOINTS=(\d+)", text)
    rows = re.findall(r"^\S.*\t(\d+)\t(\d+)/(\d+)\t(\w+)(?: MiB)?\t(\w+)$", page, re.M)
    assert [tuple("0" if word == "none" else word for word in row) for row in rows] == sizes
    assert len(sizes) == 4


def test_the_man_page_is_set_without_a_complaint() -> None:
    need("groff")
    done = subprocess.run(
        ["groff", "-t", "-man", "-Tutf8", "-ww", "-z", str(DEBIAN / "pillm-serve.8")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


def test_the_packages_have_pillms_version_and_every_script_of_the_folder() -> None:
    release = re.match(r"pillm \((.+?)\) ", (DEBIAN / "changelog").read_text())
    assert release
    assert release[1] == pillm.__version__
    installed = {line.split()[0].removeprefix("rpi4/") for line in (DEBIAN / "pillm-serve.install").read_text().splitlines()}
    files = {str(path.relative_to(RPI4)) for path in RPI4.rglob("*") if path.is_file() and DEBIAN not in path.parents}
    left = {name for name in files if name not in installed and name.split("/")[0] not in installed}
    assert left == NOT_ON_A_BOARD


def test_the_patches_are_the_ones_that_are_listed() -> None:
    listed = (DEBIAN / "patches" / "series").read_text().split()
    assert listed == sorted(path.name for path in (DEBIAN / "patches").glob("*.patch"))


def test_a_dry_run_of_the_build_prints_every_step_and_changes_nothing(tmp_path: Path) -> None:
    need("dh", "ninja", "cmake", "aarch64-linux-gnu-g++")
    words = [str(RPI4 / "build_packages.sh"), "--dry-run", "--work", str(tmp_path / "w"), "--out", str(tmp_path / "o")]
    words += ["--url", "https://example.invalid/a.tar.gz"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    steps = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("+ ")]
    assert steps.index("curl") < steps.index("tar") < steps.index("patch") < steps.index("build")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "wrong.tar.gz").write_bytes(b"wrong")
    done = subprocess.run([*words[:1], *words[2:], "--source", str(tmp_path / "wrong.tar.gz")], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 6
    assert "It was not opened" in done.stderr


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return both packages, built here, or built before and kept in the folder that PILLM_PACKAGES names."""
    if kept := os.environ.get("PILLM_PACKAGES"):
        return sorted(Path(kept).glob("*.deb"))
    return build(tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="module")
def root(packages: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Root:
    return Root.of(packages, tmp_path_factory.mktemp("arm64") / "root")


@heavy
def test_lintian_finds_neither_error_nor_warning(packages: list[Path]) -> None:
    need("lintian")
    assert len(packages) == 2
    output("lintian", "--fail-on", "error,warning", *packages)


@heavy
def test_the_same_source_gives_the_same_bytes_elsewhere_and_for_another_user(packages: list[Path], tmp_path: Path) -> None:
    again = build(tmp_path / "out", "--work", tmp_path / "elsewhere", umask=0o077, TZ="Asia/Tokyo", DEBEMAIL="a@example.org")
    assert {path.name: pillm.sha256_file(path) for path in again} == {path.name: pillm.sha256_file(path) for path in packages}


@heavy
def test_the_programs_are_hardened_and_find_libraries_in_their_own_folder_alone(root: Root) -> None:
    need("readelf")
    files = sorted((root.path / PRIVATE).iterdir())
    assert {path.name for path in files} >= {*PROGRAMS, *VARIANTS.values(), "libggml-cpu-armv8.2_1.so"}
    for path in files:
        said = output("readelf", "--wide", "--dynamic", "--segments", path)
        assert "AArch64" in output("readelf", "--file-header", path)
        assert set(re.findall(r"\((?:RPATH|RUNPATH)\)\s+.*\[(.*)\]", said)) <= {"$ORIGIN"}, path
        assert re.search(r"FLAGS.*NOW", said), path
        assert "GNU_RELRO" in said, path
        assert not re.search(r"GNU_STACK.*\bE\b", said), path


@heavy
def test_kernels_are_never_loaded_from_the_folder_that_a_program_is_started_in(root: Root, tmp_path: Path) -> None:
    shutil.copytree(root.path / PRIVATE, tmp_path / "own", ignore=shutil.ignore_patterns("libggml-cpu-*"))
    model = RPI4 / "selftest" / "tiny.gguf"
    words = [QEMU, "-L", str(root.path), str(tmp_path / "own" / "llama-bench"), "-m", str(model)]
    words += ["-p", "8", "-n", "0", "-r", "1"]
    done = subprocess.run(words, cwd=root.path / PRIVATE, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode != 0
    assert "loaded CPU backend" not in done.stderr


@heavy
def test_the_packages_ask_for_libraries_that_boards_have(packages: list[Path]) -> None:
    (programs,) = [path for path in packages if "llamacpp" in path.name]
    asked = re.findall(r"[\w+.-]+", re.sub(r"\(.*?\)", "", output("dpkg-deb", "-f", programs, "Depends")))
    assert sorted(asked) == ["libc6", "libgcc-s1", "libstdc++6"]


@heavy
@pytest.mark.parametrize("cpu", VARIANTS)
def test_each_processor_gets_its_own_kernels_and_answers_as_it_must(root: Root, cpu: str) -> None:
    said = serve(root, cpu)
    assert f"{PRIVATE}/{VARIANTS[cpu]}" in said.log
    assert said.models == ["assistant"]
    assert said.content.strip()
    assert said.refused == 401


class Served:
    """What a service said while it was asked."""

    log, content, refused = "", "", 0
    models: list[str]


@contextmanager
def running(root: Root, cpu: str, port: int, log: Path) -> Iterator[None]:
    """Start the command of the service as the unit does, wait as the unit does, and stop it as systemd does."""
    keys = root.path / "etc" / "pillm" / "keys"
    if not (keys / "assistant.key").exists():
        root.run(cpu, "usr/bin/pillm-serve", "--new-key", "assistant")
        (root.path / "var" / "lib" / "pillm" / "models").mkdir(parents=True)
        shutil.copyfile(RPI4 / "selftest" / "tiny.gguf", root.path / "var/lib/pillm/models/assistant.gguf")
    (keys / "api-key").write_bytes((keys / "assistant.key").read_bytes())
    told = {
        **root.environment(cpu),
        "CREDENTIALS_DIRECTORY": str(keys),
        "PILLM_PORT": str(port),
        "PILLM_THREADS": "1",
        "PILLM_OPTIONS": "--verbosity 5",
    }
    start, *words = re.search(r"^ExecStart=(.*)$", UNIT.read_text(), re.M)[1].replace("%i", "assistant").split()  # type: ignore[index]
    wait, *more = re.search(r"^ExecStartPost=(.*)$", UNIT.read_text(), re.M)[1].replace("%i", "assistant").split()  # type: ignore[index]
    with (
        log.open("w") as file,
        subprocess.Popen([str(root.path) + start, *words], env=told, cwd="/", stdout=file, stderr=file) as process,
    ):
        try:
            subprocess.run([str(root.path) + wait, *more], env=told, check=True, timeout=240)
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.terminate()


def serve(root: Root, cpu: str) -> Served:
    """Serve a model as the unit does and ask it."""
    port, log, found = free_port(), root.path.with_name(f"{cpu}.log"), Served()
    with running(root, cpu, port, log):
        key = (root.path / "etc/pillm/keys/assistant.key").read_text()
        told = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        asked = {"model": "assistant", "messages": [{"role": "user", "content": "bonjour"}], "max_tokens": 8}
        base = f"http://127.0.0.1:{port}/v1"
        with urllib.request.urlopen(urllib.request.Request(f"{base}/models", headers=told), timeout=120) as answer:
            found.models = [model["id"] for model in json.load(answer)["data"]]
        request = urllib.request.Request(f"{base}/chat/completions", json.dumps(asked).encode(), told)
        with urllib.request.urlopen(request, timeout=240) as answer:
            found.content = json.load(answer)["choices"][0]["message"]["content"]
        try:
            urllib.request.urlopen(f"{base}/models", timeout=120).close()
        except urllib.error.HTTPError as error:
            found.refused = error.code
    found.log = log.read_text()
    return found


@heavy
@pytest.mark.parametrize("cpu", ["cortex-a72", "cortex-a76"])
def test_the_scripts_of_the_package_run_with_the_programs_of_the_package(root: Root, cpu: str) -> None:
    scripts, model = "usr/share/pillm/rpi4", root.path / "usr/share/pillm/rpi4/selftest/tiny.gguf"
    assert root.run(cpu, f"{scripts}/run_decoder.sh", "--tokens", "8", "--threads", "1", model, "bonjour").stdout.strip()
    numbers = root.run(cpu, f"{scripts}/run_encoder.sh", "--threads", "1", "--pooling", "mean", model, "bonjour").stdout
    assert len(numbers.split()) == 256
    out = root.path.with_name(f"bench-{cpu}.json")
    root.run(cpu, f"{scripts}/bench/run.sh", "--pp", "8", "--tg", "2", "--repeat", "1", "--threads", "1", "--out", out, model)
    assert [one.name for one in read_benchmark(out.read_text(), "the record").points] == ["pp8", "tg2"]


@heavy
def test_the_kernels_of_every_processor_give_the_tokens_of_the_self_test(root: Root) -> None:
    line = next(
        line for line in (RPI4 / "setup_pi.sh").read_text().replace("\\\n", "").splitlines() if "--binary-file" in line
    ).split()  # fmt: skip
    where = root.path / "usr/share/pillm/rpi4/selftest"
    words = [word.strip('"').replace("$HERE/selftest", str(where)).replace("$tokens", "32") for word in line[3:]]
    for cpu in VARIANTS:
        found = subprocess.run(
            [root.environment(cpu)["PILLM_LLAMACPP"] + "/bin/llama-completion", *words],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert found.rstrip("\n") == (where / "expected.txt").read_text().rstrip("\n"), cpu


def test_the_pages_use_commands_and_settings_that_there_are() -> None:
    text = (RPI4.parent / "docs" / "how-to" / "serve-on-a-pi.md").read_text()
    serve_text = (RPI4 / "serve.sh").read_text()
    options = set(re.findall(r"pillm-serve (--[a-z-]+)", text))
    assert {"--check", "--new-key"} <= options <= options_of(serve_text)
    assert settings_of(text) <= settings_of(serve_text)
