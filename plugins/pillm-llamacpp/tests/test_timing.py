from __future__ import annotations

import time

import llama_cpp.llama_cpp as llama
import pytest
from pillm_llamacpp.process import timing
from pillm_llamacpp.process.serving import Served
from pillm_llamacpp.workers.refusal import Refusal

import pillm


def test_the_clock_is_read_only_when_everything_decoded_is_computed(
    gguf: pillm.ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    waits, ticks, decodes = llama.llama_synchronize, time.perf_counter, llama.llama_decode
    served = Served(path=str(gguf.path))
    monkeypatch.setattr(llama, "llama_synchronize", lambda handle: (seen.append("wait"), waits(handle))[1])
    monkeypatch.setattr(llama, "llama_decode", lambda *told: (seen.append("decode"), decodes(*told))[1])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: (seen.append("clock"), ticks())[1])
    watch = timing.Stopwatch(served)
    watch.time(kind="pp", tokens=8, depth=0, threads=1)
    watch.time(kind="tg", tokens=2, depth=0, threads=1)
    before = [seen[index - 1] for index, what in enumerate(seen) if what == "clock"]
    assert before == ["wait"] * 6


def test_what_stands_already_is_put_back_from_its_saved_state(gguf: pillm.ModelFile) -> None:
    watch = timing.Stopwatch(Served(path=str(gguf.path)))
    first, *later = [watch.time(kind="tg", tokens=4, depth=64, threads=1) for _ in range(3)]
    assert first["restore_ms"] is None
    assert all(one["restore_ms"] > 0 for one in later)
    assert all(len(one["steps_ms"]) == 4 for one in later)
    assert watch.time(kind="pp", tokens=16, depth=64, threads=2)["first_ms"] > 0
    watch.close()


def test_more_than_the_model_can_see_is_refused(gguf: pillm.ModelFile) -> None:
    with pytest.raises(Refusal, match="16 tokens behind 250 are more than the 256"):
        timing.Stopwatch(Served(path=str(gguf.path))).time(kind="pp", tokens=16, depth=250, threads=1)


def test_memory_is_told_by_kind() -> None:
    found = timing.memory()
    assert found["peak"] >= found["anonymous"] > 1_000_000
    assert found["pss"] > 0
