"""Run llama.cpp's converter in a child process: a Hugging Face folder becomes one GGUF file in full precision."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import pillm
from pillm_llamacpp.workers.client import death, error_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DRIVER = "pillm_llamacpp.converting.driver"
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # threads that spin while they wait make a conversion on a busy machine many times slower
    "OMP_WAIT_POLICY": "passive",
    "PYTHONUTF8": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What the child is told."""

    tree: str
    model: str
    outfile: str
    """Where the GGUF goes; empty where only the probes shall be encoded."""
    outtype: str
    pre: str | None
    derived: str | None
    stops: tuple[str, ...]
    keys: Mapping[str, str | int | list[str]] = field(default_factory=dict)
    """Keys added to the GGUF's metadata, in place of what the converter guesses."""
    day: str | None = None
    """The day that chat templates print, as YYYY-MM-DD; none: today."""
    rows: int = 0
    """How many probes are put to the model, at most; 0: none, and the weights are not loaded."""
    tokens: int = 64
    """After how many tokens a probe is cut for that."""
    encoder: bool = False
    """Whether the model turns texts into embeddings, and answers nothing."""
    vocab_only: bool = False
    """Whether only the tokenizer is converted."""
    written: bool = False
    """Whether the file is there already, and only tokenizer and model are asked."""
    adapter: str | None = None
    """An adapter that the model is asked with, unmerged; peft puts it on."""
    apart: bool = False
    """Whether the adapter stays out of the file, which holds the base alone."""
    precision: str = "float32"
    """How the model's weights are held while it is asked: `float32`, or `stored` and widened layer by layer."""
    metadata: dict[str, str] = field(default_factory=dict)
    """What replaces the metadata that the converter guesses (`general.name`, `general.license`)."""


class Converted(NamedTuple):
    """What the child learnt on the way."""

    encoded: list[dict[str, Any]]
    """Each probe's text and ids as the reloaded tokenizer makes them."""
    specials: dict[str, list[int]]
    """Each special token's text with its id, then the ids that the text gets."""
    predicted: list[dict[str, Any]]
    """The first probes' texts and ids, and at how many last places each has numbers of that width in `reference`."""
    reference: Path
    """The checkpoint's logits (of an encoder: embeddings), 32-bit numbers row after row."""


def run(conversion: Conversion, probes: Iterable[pillm.Message], work: Path, progress: pillm.Progress) -> Converted:
    """Convert, and return what the tokenizer and the model themselves made of the probes.

    Only `work` is written. Raises BackendError with the converter's last words, or StorageError where the disk is full.
    """
    job = work / "job.json"
    paths = {name: work / f"{name}.json" for name in ("probes", "encoded", "specials", "predicted", "metadata")}
    paths["reference"] = work / "reference.f32"
    with paths["probes"].open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(probe) + "\n" for probe in probes)
    paths["metadata"].write_text(json.dumps(conversion.metadata), "utf-8")
    told = {**asdict(conversion), **{name: str(path) for name, path in paths.items()}}
    job.write_text(json.dumps(told), "utf-8")
    with (work / "convert.log").open("w+b") as log:
        _run_child(job, log, progress)
    (specials,) = _lines(paths["specials"])
    return Converted(_lines(paths["encoded"]), specials, _lines(paths["predicted"]), paths["reference"])


def _lines(path: Path) -> list[Any]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _run_child(job: Path, log: IO[bytes], progress: pillm.Progress) -> None:
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", DRIVER, str(job)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env={**os.environ, **_OFFLINE}, encoding="utf-8",
    )  # fmt: skip
    failure: dict[str, str] | None = None
    done = 0
    try:
        for line in child.stdout or ():
            event = json.loads(line)
            if "error" in event:
                failure = event
                continue
            if not done:
                progress.start(event["total"], unit="bytes", message="writing the GGUF")
            progress.advance(event["progress"] - done)
            done = event["progress"]
        code = child.wait()
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        if child.stdout:
            child.stdout.close()
    if failure or code:
        raise _failed(failure, code, _tail(log))


def _failed(failure: dict[str, str] | None, code: int, tail: str) -> pillm.PillmError:
    said = str(failure["message"]).rstrip(".") if failure else ""
    if failure and failure["error"] == "storage":
        return pillm.StorageError(
            f"the GGUF could not be written: {said}. Most often the disk is full. "
            "Nothing half-written was left; free some space and run the same command again."
        )
    if failure:
        return error_of(failure["error"], f"the conversion to GGUF failed: {said}. No GGUF was left.{tail}")
    return pillm.BackendError(f"the conversion to GGUF failed: {death(code)}. No GGUF was left.{tail}")


def _tail(log: IO[bytes]) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - 4000))
    lines = log.read().decode("utf-8", "replace").strip().splitlines()[-12:]
    return "\nThe converter last said:\n" + "\n".join(lines) if lines else ""
