from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pillm_llamacpp.boards.pi4 import Pi4Runner
from pillm_llamacpp_boardbenching import write_bench
from pillm_llamacpp_tiny import request

import pillm
from pillm.testing import LoopbackBoard, missing_for_board

ROOT = Path(__file__).parents[3]
LACKING = missing_for_board()
pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING)


@pytest.fixture
def pi(tmp_path: Path) -> Iterator[LoopbackBoard]:
    """Return a board with a llama-bench in its home."""
    with LoopbackBoard(tmp_path / "pi") as board:
        write_bench(board.home / "llama-bench")
        yield board


def bench(pi: LoopbackBoard, model: pillm.ModelFile, **options: object) -> pillm.Benchmark:
    runner = Pi4Runner(**{"host": pi.host, "program": "./llama-bench", "ssh_config": pi.ssh_config, **options})
    with runner.open(model) as session:
        return session.bench(pillm.BenchPlan(pp=16, tg=8, repetitions=3))


def test_a_model_is_sent_once_and_timed_there(pi: LoopbackBoard, gguf: pillm.ModelFile) -> None:
    found = bench(pi, gguf)
    assert (found.pp_tps, found.tg_tps, found.pp, found.tg) == (pytest.approx(40.0), pytest.approx(9.5), 16, 8)
    assert found.samples == {"pp_tps": pytest.approx([40.0] * 3), "tg_tps": pytest.approx([9.5] * 3)}
    assert found.details["cpu_info"] == "Cortex-A72"
    (sent,) = (pi.home / ".cache" / "pillm" / "models").iterdir()
    assert pillm.ModelFile.of(sent, "Q8_0").sha256 == gguf.sha256
    bench(pi, gguf)
    assert sum("cat >>" in line for line in pi.commands) == 1


def test_names_are_quoted_for_the_remote_shell(pi: LoopbackBoard, gguf: pillm.ModelFile, tmp_path: Path) -> None:
    odd = tmp_path / "a; touch evil $(touch evil2).gguf"
    odd.write_bytes(gguf.path.read_bytes())
    bench(pi, pillm.ModelFile.of(odd, "Q8_0"), folder="it's; touch evil3")
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("folder", ["~", "~/models", "~/it's; touch evil"])
def test_a_tilde_is_the_home_folder_there(pi: LoopbackBoard, gguf: pillm.ModelFile, folder: str) -> None:
    assert bench(pi, gguf, program="~/llama-bench", folder=folder).tg_tps == pytest.approx(9.5)
    (sent,) = (pi.home / folder[2:]).glob("*.gguf")
    assert pillm.ModelFile.of(sent, "Q8_0").sha256 == gguf.sha256
    assert not list(pi.home.rglob("evil"))
    assert not (pi.home / "~").exists()


def test_an_unreachable_device_is_unavailable(pi: LoopbackBoard, gguf: pillm.ModelFile) -> None:
    pi.unplug()
    with pytest.raises(pillm.Unavailable, match=r"board cannot be reached by ssh: .*Connection refused"):
        bench(pi, gguf)


@pytest.mark.parametrize(
    ("mode", "error", "complaint"),
    [
        ("ILL", pillm.BackendError, "built for another CPU"),
        ("KILL", pillm.BackendError, "out of memory"),
        ("garbage", pillm.BackendError, "printed no timings that can be read"),
    ],
)
def test_the_way_llama_bench_ends_is_put_in_words(
    pi: LoopbackBoard, gguf: pillm.ModelFile, mode: str, error: type[Exception], complaint: str
) -> None:
    pi.environment(BENCH_MODE=mode)
    with pytest.raises(error, match=complaint):
        bench(pi, gguf)


def test_a_device_without_llama_bench_is_told_how_to_get_it(pi: LoopbackBoard, gguf: pillm.ModelFile) -> None:
    with pytest.raises(pillm.MissingDependency, match=r"board has no llama-bench-nowhere .*rpi4/README\.md") as missing:
        bench(pi, gguf, program="llama-bench-nowhere")
    named = re.findall(r"rpi4/\S+\w", str(missing.value))
    assert [(ROOT / path).is_file() for path in named] == [True]


def test_a_host_never_becomes_an_option_of_ssh() -> None:
    with pytest.raises(pillm.ConfigError, match="never begins with a dash"):
        pillm.runner("pi4", host="-oProxyCommand=touch evil")


def test_it_says_what_the_device_is(pi: LoopbackBoard) -> None:
    facts = Pi4Runner(host=pi.host, ssh_config=pi.ssh_config).probe()
    assert facts.cores
    assert facts.kernel
    assert any("/proc/cpuinfo" in line for line in pi.commands)


def test_a_schema_that_no_grammar_holds_is_refused_before_anything_is_sent() -> None:
    prompt = request(schema={"not": {"const": 1}}).prompt
    with pytest.raises(pillm.ConfigError, match="row-0"):
        Pi4Runner(host="board", constrain=True).check_prompts([prompt])
    Pi4Runner(host="board").check_prompts([prompt])
