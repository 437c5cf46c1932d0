from __future__ import annotations

import time

import llama_cpp.llama_cpp as llama
import pytest
from pillm_llamacpp.inference import timing
from pillm_llamacpp.workers.serving import Served

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
