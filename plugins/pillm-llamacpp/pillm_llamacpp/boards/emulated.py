"""The runner `pi4-emulated`: the programs that were built for a Raspberry Pi 4, run here, on its processor as qemu plays it."""

from __future__ import annotations

import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

import pillm
from pillm_llamacpp.building.built import Built
from pillm_llamacpp.building.emulation import Emulator
from pillm_llamacpp.building.targets import TARGETS
from pillm_llamacpp.inference.decoding import TUNING

PROGRAM = "llama-completion"
_HEAD = struct.Struct("<4sII")
_MAGIC = b"nsgg"
_ROOM = 16
_LARGEST = "Files above so many megabytes are refused: qemu takes about five milliseconds a token for each."
FLAGS = (
    "--no-conversation", "--no-display-prompt", "--no-warmup", "--no-escape", "--offline", "--prompt-cache-all",
    "--temp", "--threads", "--ctx-size", "--predict", "--model", "--binary-file", "--prompt-cache", "--override-kv",
)  # fmt: skip
"""What llama-completion is told; a test holds them against its own help."""


class EmulatedRunner(pillm.Runner):
    """Answers from GGUF files as a Raspberry Pi 4 would, greedily, with its programs on its processor as qemu plays it."""

    name: ClassVar[str] = "pi4-emulated"
    reads: ClassVar[frozenset[str]] = frozenset({"gguf"})
    emulates: ClassVar[str] = "pi4"

    max_tokens: int = Field(128, ge=1, description="Tokens after which an answer is cut.")
    threads: int = Field(1, ge=1, le=64, description="Threads to decode with.", json_schema_extra=TUNING)
    max_mb: int = Field(96, ge=1, description=_LARGEST, json_schema_extra=TUNING)
    timeout: float = Field(60.0, gt=0, description="Seconds after which an answer is given up.", json_schema_extra=TUNING)

    def check(self) -> None:
        """Raise MissingDependency where qemu or the programs are missing, with the command that gets them."""
        emulator().check()
        _built().require(PROGRAM)

    def open(self, model: pillm.ModelFile | pillm.Checkpoint) -> pillm.Session:
        """Open a GGUF file; raise ConfigError where it is too large to wait for, and what `check` raises."""
        if isinstance(model, pillm.Checkpoint):
            raise pillm.ConfigError(
                f"runner {self.name!r} reads GGUF files, and {model.path} is a model folder. Export it first."
            )
        self.check()
        size = model.path.stat().st_size
        if size > self.max_mb * 1e6:
            raise pillm.ConfigError(
                f"{model.path.name} has {size / 1e6:.0f} MB, and qemu would take minutes for an answer. "
                f"Wait for it with the options max_mb={size // 1_000_000 + 1} and a longer timeout."
            )
        pillm.check_model_file(model.path)
        return EmulatedSession(self, model.path)


def emulator() -> Emulator:
    """Return the processor of a Raspberry Pi 4."""
    return Emulator(TARGETS["pi4"].cpu or "")


def _built() -> Built:
    from pillm_llamacpp.building.built import kept_folder

    return Built(TARGETS["pi4"], kept_folder(TARGETS["pi4"]))


class EmulatedSession(pillm.Session):
    """A GGUF file that a foreign llama-completion answers from, one program run per request."""

    def __init__(self, runner: EmulatedRunner, path: Path) -> None:
        from pillm_llamacpp.workers.client import Worker

        self._runner, self._path = runner, path.resolve()
        # only the vocabulary: it renders the template as all of pillm does, and reads the ids that come back
        self._worker = Worker(f"llama.cpp with {path.name}")
        try:
            self._facts = self._worker.ask(op="open", path=str(self._path), vocab_only=True)
        except BaseException:
            self._worker.close()
            raise

    def answer(self, requests: Iterator[pillm.Request]) -> Iterator[tuple[pillm.Request, pillm.Answer | pillm.Failure]]:
        """Pull requests and yield each with its answer; what takes too long or does not render is a failure."""
        for request in requests:
            try:
                yield request, self._answered(request)
            except pillm.Unavailable as error:
                yield request, pillm.Failure("server", str(error))

    def _answered(self, request: pillm.Request) -> pillm.Answer | pillm.Failure:
        row = {"messages": list(request.messages), "tools": list(request.prompt.tools), "ask": True}
        try:
            (asked,) = self._worker.ask(op="encode", rows=[row])["rows"]
        except pillm.BackendError as error:
            return pillm.Failure("invalid", str(error))
        began = time.monotonic()
        ids = self._generate(asked["text"], len(asked["ids"]))
        seconds, told = time.monotonic() - began, len(asked["ids"])
        if ids[:told] != asked["ids"]:
            raise pillm.BackendError(f"{PROGRAM} for the board made other tokens of the prompt of row {request.prompt.id!r}.")
        said = ids[told:]
        stopped = bool(said) and said[-1] in self._facts["ends"]
        text = self._worker.ask(op="text", ids=said[:-1] if stopped else said)["text"]
        content, reasoning, calls = pillm.read_reply(text, tools=bool(request.prompt.tools))
        return pillm.Answer(
            content, reasoning=reasoning, tool_calls=calls, finish_reason="stop" if stopped else "length",
            usage=pillm.Usage(prompt_tokens=told, completion_tokens=len(said)), model=self._path.name,
            token_ids=tuple(said), tokenizer_hash=self._facts["tokenizer"], timings={"seconds": seconds},
        )  # fmt: skip

    def _generate(self, text: str, length: int) -> list[int]:
        """Return the ids of prompt and answer, as the program recorded them."""
        runner = self._runner
        with tempfile.TemporaryDirectory(prefix="pillm-emulated-") as scratch:
            prompt, session = Path(scratch) / "prompt.txt", Path(scratch) / "session.bin"
            prompt.write_bytes(text.encode())
            valued: dict[str, Any] = {
                "--model": self._path, "--binary-file": prompt, "--prompt-cache": session, "--predict": runner.max_tokens,
                "--ctx-size": length + runner.max_tokens + _ROOM, "--threads": runner.threads, "--temp": 0,
                # the template says where a sequence begins and ends
                "--override-kv": "tokenizer.ggml.add_bos_token=bool:false,tokenizer.ggml.add_eos_token=bool:false",
            }  # fmt: skip
            plain = [flag for flag in FLAGS if flag not in valued]
            argv = [str(word) for pair in valued.items() for word in pair]
            emulator().run([_built().path(PROGRAM), *plain, *argv], timeout=runner.timeout)
            return read_session(session)

    def close(self) -> None:
        """End the worker; calling it twice is harmless."""
        self._worker.close()


def read_session(path: Path) -> list[int]:
    """Return the token ids that a session file of llama.cpp begins with; raise BackendError where it is none."""
    try:
        data = path.read_bytes()
        magic, _, count = _HEAD.unpack_from(data)
        if magic != _MAGIC:
            raise ValueError(f"it begins with {magic!r}")
        return list(struct.unpack_from(f"<{count}i", data, _HEAD.size))
    except (OSError, ValueError, struct.error) as error:
        raise pillm.BackendError(f"{PROGRAM} left no record of its tokens that can be read ({error}).") from error
