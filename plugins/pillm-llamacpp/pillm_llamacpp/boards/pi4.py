"""The runner `pi4`: model files answer and are timed on a Raspberry Pi, by the llama.cpp that is installed there."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator

import pillm
from pillm_llamacpp.boards.boardsession import BoardAnswers, Serving
from pillm_llamacpp.inference.decoding import TUNING, check_schemas


class Pi4Runner(pillm.Runner):
    """Answers from GGUF files on a Raspberry Pi over ssh, greedily, and times them there."""

    name: ClassVar[str] = "pi4"
    reads: ClassVar[frozenset[str]] = frozenset({"gguf"})
    capabilities: ClassVar[frozenset[str]] = frozenset({"answer", "bench", "embed", "grammar", "logprobs"})

    host: str = Field(description="Where ssh connects to without a password, such as pi@raspberrypi.local.")
    program: str = Field("llama-bench", min_length=1, description="The llama-bench of the device: a name or a path there.")
    server: str = Field("llama-server", min_length=1, description="The llama-server of the device: a name or a path there.")
    context: int | None = Field(None, ge=8, description="Tokens of prompt and answer; none: the model's own, at most 4096.")
    max_tokens: int = Field(256, ge=1, description="Tokens after which an answer is cut; never exceeded.")
    constrain: bool = Field(False, description="Hold answers to the row's JSON Schema by a grammar.")
    logprobs: int = Field(0, ge=0, le=1024, description="Alternatives to record per token, with log-probabilities.")
    threads: int = Field(4, ge=1, le=256, description="Threads to compute with.")
    folder: str = Field(
        ".cache/pillm/models", min_length=1, description="Folder there for model files.", json_schema_extra=TUNING
    )
    timeout: float = Field(
        1800.0, gt=0, description="Seconds after which a command there is given up.", json_schema_extra=TUNING
    )

    ssh_config: Path | None = Field(
        None, description="A configuration that ssh reads instead of your own.", json_schema_extra=TUNING
    )

    @field_validator("host")
    @classmethod
    def _safe_host(cls, value: str) -> str:
        try:
            return pillm.Remote(value).host
        except pillm.ConfigError as error:
            raise ValueError(str(error)) from error

    def check_prompts(self, prompts: Sequence[pillm.Prompt]) -> None:
        """Raise ConfigError naming the first row whose schema `constrain` could not hold answers to."""
        if self.constrain:
            check_schemas(prompts)

    def probe(self) -> pillm.DeviceFacts:
        """Return what the device is; raise Unavailable where it cannot be reached."""
        with self.remote() as remote:
            return pillm.probe_machine(remote)

    def remote(self) -> pillm.Remote:
        """Return the way to the device."""
        return pillm.Remote(self.host, ssh_config=self.ssh_config)

    def open(self, model: pillm.ModelFile | pillm.Checkpoint) -> pillm.Session:
        """Return a session for a GGUF file; nothing is sent before it is asked or timed."""
        if isinstance(model, pillm.Checkpoint):
            raise pillm.ConfigError(f"runner 'pi4' reads GGUF files, and {model.path} is a model folder. Export it first.")
        pillm.check_model_file(model.path)
        return PiSession(self, model)


class PiSession(BoardAnswers):
    """A model file on a Raspberry Pi."""

    def __init__(self, runner: Pi4Runner, model: pillm.ModelFile) -> None:
        names = type(runner).model_fields.keys() & Serving.__dataclass_fields__.keys()
        super().__init__(runner.remote(), model, Serving(**{name: getattr(runner, name) for name in names}))
        self._runner = runner

    def bench(self, plan: pillm.BenchPlan) -> pillm.Benchmark:
        """Send the file unless it is there already, run llama-bench there and return its medians."""
        path = self._remote.upload(self._model.path, self._runner.folder, self._model.sha256)
        threads = plan.threads or self._runner.threads
        numbers = {"-p": plan.pp, "-n": plan.tg, "-r": plan.repetitions, "-t": threads}
        options = [text for option, number in numbers.items() for text in (option, str(number))]
        argv = [self._remote.path(self._runner.program), "-m", path, *options, "-o", "json"]
        output = self._remote.run(argv, timeout=self._runner.timeout, needs=self._model.path.stat().st_size)
        prefill, decode = _rows(output, self._runner.host)
        board = (self._remote.read("/proc/device-tree/model") or "").strip("\0\n ")
        facts = ("build_commit", "build_number", "cpu_info", "model_type", "n_threads", "n_batch", "flash_attn", "type_k")
        return pillm.Benchmark(
            model=self._model.path.name, device=board or self._runner.host, basis="measured",
            pp_tps=statistics.median(_samples(prefill)), tg_tps=statistics.median(_samples(decode)),
            pp=int(prefill["n_prompt"]), tg=int(decode["n_gen"]), threads=threads, repetitions=plan.repetitions,
            samples={"pp_tps": _samples(prefill), "tg_tps": _samples(decode)},
            details={"runner": "pi4", **{name: decode[name] for name in facts if name in decode}},
        )  # fmt: skip


def _rows(output: str, host: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the prefill and the decode row of llama-bench's JSON, whatever other columns its version has."""
    try:
        rows = [row for row in json.loads(output) if isinstance(row, dict)]
        prefill = next(row for row in rows if row["n_prompt"] and not row["n_gen"])
        decode = next(row for row in rows if row["n_gen"] and not row["n_prompt"])
        if min(*_samples(prefill), *_samples(decode)) <= 0:
            raise ValueError("a speed is not positive")
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise pillm.BackendError(
            f"{host}: llama-bench printed no timings that can be read ({type(error).__name__}: {error}). "
            f"It began with: {output[:200]!r}"
        ) from error
    return prefill, decode


def _samples(row: dict[str, Any]) -> list[float]:
    return [float(value) for value in row.get("samples_ts") or [row["avg_ts"]]]
