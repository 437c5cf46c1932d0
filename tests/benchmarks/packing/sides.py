"""An adapter on a student of Qwen2.5-0.5B's shape, packed by pillm and by its peer; each step a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks.fitting import student
from tests.benchmarks.harness import Result, alternating
from tests.benchmarks.loopback.peers import folder

HERE = Path(__file__).parent
LAYERS = 24
FILE_TYPES = {"Q8_0": 7, "Q4_K_M": 15}
PEER = "peft's merge_and_unload, then convert_hf_to_gguf.py of the same llama.cpp{}; no gates on either side"
STEPS = {"Q8_0": " with --outtype q8_0", "Q4_K_M": " with --outtype f16, then llama-quantize"}
_ADAPTER = """
import sys, torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
torch.manual_seed(1)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype="auto", local_files_only=True)
model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
for name, weight in model.named_parameters():
    if "lora_B" in name:
        torch.nn.init.normal_(weight, std=0.02)
model.peft_config["default"].base_model_name_or_path = sys.argv[1]
model.save_pretrained(sys.argv[2])
"""


@dataclass(frozen=True)
class Taken:
    """What a side took."""

    seconds: float
    peak: float
    """MiB: of the largest process, and for pillm of the two that run together."""


@dataclass(frozen=True)
class Packing:
    """A base, an adapter on it, and a folder to work in."""

    base: Path
    adapter: Path
    work: Path

    def pillm(self, quant: str) -> Taken:
        """Pack as the exporter does, without its gates."""
        out = self._fresh("pillm")
        return _timed([["packing/pillm_pack.py", str(self.adapter), str(out), quant, _threads()]], together=True)

    def peer(self, quant: str) -> Taken:
        """Merge, convert, and quantise where the converter cannot."""
        from pillm_llamacpp import source

        out = self._fresh("peer")
        merged, full, target = out / "merged", out / "student-F16.gguf", out / f"student-{quant}.gguf"
        steps = [["packing/peer_merge.py", str(self.base), str(self.adapter), str(merged)]]
        convert = ["packing/peer_convert.py", str(source.require()), str(merged)]
        if quant == "Q8_0":
            steps.append([*convert, str(target), "q8_0"])
        else:
            steps.append([*convert, str(full), "f16"])
            steps.append(["packing/peer_quantize.py", str(full), str(target), str(FILE_TYPES[quant]), _threads()])
        return _timed(steps)

    def same(self, quant: str) -> int:
        """Return how many tensors both sides made, every one equal to the byte; raise where one is not."""
        import gguf

        mine, theirs = (gguf.GGUFReader(self.work / side / f"student-{quant}.gguf").tensors for side in ("pillm", "peer"))
        if [tensor.name for tensor in mine] != [tensor.name for tensor in theirs]:
            raise RuntimeError(f"{quant}: the two sides made other tensors")
        for one, other in zip(mine, theirs, strict=True):
            if one.tensor_type != other.tensor_type or one.data.tobytes() != other.data.tobytes():
                raise RuntimeError(f"{quant}: {one.name} is not the same on both sides")
        return len(mine)

    def _fresh(self, side: str) -> Path:
        out = self.work / side
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        return out


@contextmanager
def packing() -> Iterator[Packing]:
    """Give the student and its adapter, which are made once and kept, and a folder that is removed."""
    cache = folder().parent
    base = student.model_folder(LAYERS, cache / "students")
    adapter = cache / "students" / f"{base.name}-adapter"
    if not (adapter / "adapter_config.json").is_file():
        subprocess.run([sys.executable, "-c", _ADAPTER, str(base), str(adapter)], check=True, stdout=subprocess.DEVNULL)
    with TemporaryDirectory(prefix="pillm-", dir=cache) as work:
        yield Packing(base, adapter, Path(work))


def faster(name: str, quant: str, goal: float, limit: str, *, quick: bool) -> Iterator[Result]:
    """Pack the same adapter in turns and compare the wall times; the tensors must be the same to the byte."""
    with packing() as subject:
        sides = {"pillm": seconds(subject.pillm, quant), "peer": seconds(subject.peer, quant)}
        took = alternating(sides, 1 if quick else 3)
        tensors = subject.same(quant)
    yield Result(
        benchmark=name,
        pillm=round(took["pillm"], 2),
        peer=round(took["peer"], 2),
        unit="s",
        goal=goal,
        better="lower",
        peer_is=PEER.format(STEPS[quant]),
        limit=limit,
        versions=versions(),
        details={"tensors equal to the byte": tensors},
    )


def seconds(side: Callable[[str], Taken], quant: str) -> Callable[[], float]:
    """Return what packs once and gives its wall time."""
    return lambda: side(quant).seconds


def versions() -> dict[str, str]:
    """Return the versions that the figures depend on."""
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "peft", "llama-cpp-python", "numpy")}


def _threads() -> str:
    return str(os.cpu_count() or 1)


def _timed(steps: list[list[str]], *, together: bool = False) -> Taken:
    took, peaks = 0.0, []
    for script, *arguments in steps:
        began = time.perf_counter()
        code, usage = _run([sys.executable, str(HERE.parent / script), *arguments])
        took += time.perf_counter() - began
        if code:
            raise RuntimeError(f"{script} ended with status {code}")
        peaks.append(usage.ru_maxrss / 1024)
    # pillm's own process waits while its worker does the work; both are there together
    return Taken(took, max(peaks) + (_own_process() if together else 0))


def _run(command: list[str]) -> tuple[int, Any]:
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return child.returncode, usage


def _own_process() -> float:
    """Return what a process that only imports what `pillm_pack` imports takes, in MiB."""
    imports = "import pillm; from pillm_llamacpp.writing import writer, sources; pillm.Checkpoint; pillm.Progress"
    return float(_run([sys.executable, "-c", imports])[1].ru_maxrss / 1024)
