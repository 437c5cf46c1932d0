from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from pillm_llamacpp.pi4 import Pi4Runner
from pillm_llamacpp_tiny import request

import pillm

SSH = """#!/bin/sh
# stands for ssh: checks the options, then runs the line in the folder that stands for the device
echo "$@" >> "$PI_HOME/../ssh.log"
[ "$1 $2 $3 $4 $5" = "-o BatchMode=yes -o ConnectTimeout=15 --" ] || exit 99
[ "$6" = "pi@fake" ] || { echo "ssh: connect to host $6 port 22: Connection refused" >&2; exit 255; }
cd "$PI_HOME" && exec sh -c "$7"
"""
BENCH = """#!/bin/sh
[ -f "$2" ] || { echo "no model $2" >&2; exit 1; }
case "$BENCH_MODE" in
  sigill) kill -ILL $$ ;;
  oom) kill -KILL $$ ;;
  garbage) echo "warming up" ; exit 0 ;;
esac
cat <<END
[{"build_commit": "abc", "cpu_info": "Cortex-A72", "n_threads": 4, "n_prompt": 16, "n_gen": 0, "avg_ts": 40.0,
  "samples_ts": [39.0, 40.0, 41.0], "new_column": 1},
 {"build_commit": "abc", "cpu_info": "Cortex-A72", "n_threads": 4, "n_prompt": 0, "n_gen": 8, "avg_ts": 9.5}]
END
"""


@pytest.fixture
def pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that stands for the home of a Raspberry Pi."""
    home, bin_folder = tmp_path / "pi home", tmp_path / "bin"
    home.mkdir()
    bin_folder.mkdir()
    for path, text in ((bin_folder / "ssh", SSH), (home / "llama-bench", BENCH)):
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{bin_folder}:{os.environ['PATH']}")
    monkeypatch.setenv("PI_HOME", str(home))
    return home


def bench(model: pillm.ModelFile, **options: object) -> pillm.Benchmark:
    runner = Pi4Runner(**{"host": "pi@fake", "program": "./llama-bench", **options})
    with runner.open(model) as session:
        return session.bench(pillm.BenchPlan(pp=16, tg=8, repetitions=3))


def test_a_model_is_sent_once_and_timed_there(pi: Path, gguf: pillm.ModelFile) -> None:
    found = bench(gguf)
    assert (found.pp_tps, found.tg_tps, found.pp, found.tg) == (40.0, 9.5, 16, 8)
    assert found.samples == {"pp_tps": [39.0, 40.0, 41.0], "tg_tps": [9.5]}
    assert found.details["cpu_info"] == "Cortex-A72"
    (sent,) = (pi / ".cache" / "pillm" / "models").iterdir()
    assert pillm.ModelFile.of(sent, "Q8_0").sha256 == gguf.sha256
    bench(gguf)
    assert (pi.parent / "ssh.log").read_text().count("mkdir -p") == 1


def test_names_are_quoted_for_the_remote_shell(pi: Path, gguf: pillm.ModelFile, tmp_path: Path) -> None:
    odd = tmp_path / "a; touch evil $(touch evil2).gguf"
    odd.write_bytes(gguf.path.read_bytes())
    bench(pillm.ModelFile.of(odd, "Q8_0"), folder="it's; touch evil3")
    assert not list(tmp_path.rglob("evil*"))


def test_an_unreachable_device_is_unavailable(pi: Path, gguf: pillm.ModelFile) -> None:
    with pytest.raises(pillm.Unavailable, match=r"pi@elsewhere cannot be reached by ssh: .*Connection refused"):
        bench(gguf, host="pi@elsewhere")


@pytest.mark.parametrize(
    ("mode", "error", "complaint"),
    [
        ("sigill", pillm.BackendError, "built for another CPU"),
        ("oom", pillm.BackendError, "out of memory"),
        ("garbage", pillm.BackendError, "printed no timings that can be read"),
    ],
)
def test_the_way_llama_bench_ends_is_put_in_words(
    pi: Path, gguf: pillm.ModelFile, monkeypatch: pytest.MonkeyPatch, mode: str, error: type[Exception], complaint: str
) -> None:
    monkeypatch.setenv("BENCH_MODE", mode)
    with pytest.raises(error, match=complaint):
        bench(gguf)


def test_a_device_without_llama_bench_is_told_how_to_get_it(pi: Path, gguf: pillm.ModelFile) -> None:
    with pytest.raises(pillm.MissingDependency, match=r"pi@fake has no llama-bench-nowhere.*setup_pi\.sh"):
        bench(gguf, program="llama-bench-nowhere")


def test_a_host_never_becomes_an_option_of_ssh() -> None:
    with pytest.raises(pillm.ConfigError, match="never begins with a dash"):
        pillm.runner("pi4", host="-oProxyCommand=touch evil")


def test_it_says_that_it_does_not_answer(pi: Path, gguf: pillm.ModelFile) -> None:
    assert not Pi4Runner.answers
    with (
        Pi4Runner(host="pi@fake").open(gguf) as session,
        pytest.raises(pillm.ConfigError, match="does not answer yet"),
    ):
        list(session.answer(iter([request()])))


def test_the_stand_in_prints_what_the_parser_reads() -> None:
    assert json.loads(BENCH.split("END\n")[1])[0]["n_prompt"] == 16
