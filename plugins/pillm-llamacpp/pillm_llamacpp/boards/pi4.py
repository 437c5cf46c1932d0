"""The runner `pi4`: times model files on a Raspberry Pi, with the llama-bench that is installed there."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator

import pillm

_TUNING: dict[str, Any] = {"key": False}


class Pi4Runner(pillm.Runner):
    """Times GGUF files on a Raspberry Pi over ssh."""

    name: ClassVar[str] = "pi4"
    reads: ClassVar[frozenset[str]] = frozenset({"gguf"})
    capabilities: ClassVar[frozenset[str]] = frozenset({"bench"})

    host: str = Field(description="Where ssh connects to without a password, such as pi@raspberrypi.local.")
    program: str = Field("llama-bench", min_length=1, description="The llama-bench of the device: a name or a path there.")
    threads: int = Field(4, ge=1, le=256, description="Threads to compute with.")
    folder: str = Field(
        ".cache/pillm/models", min_length=1, description="Folder there for model files.", json_schema_extra=_TUNING
    )
    timeout: float = Field(
        1800.0, gt=0, description="Seconds after which a command there is given up.", json_schema_extra=_TUNING
    )

    ssh_config: Path | None = Field(
        None, description="A configuration that ssh reads instead of your own.", json_schema_extra=_TUNING
    )

    @field_validator("host")
    @classmethod
    def _safe_host(cls, value: str) -> str:
        try:
            return pillm.Remote(value).host
        except pillm.ConfigError as error:
            raise ValueError(str(error)) from error

    def open(self, model: pillm.ModelFile | pillm.Checkpoint) -> pillm.Session:
        """Return a session for a GGUF file; nothing is sent before it is timed."""
        if isinstance(model, pillm.Checkpoint):
            raise pillm.ConfigError(f"runner 'pi4' reads GGUF files, and {model.path} is a model folder. Export it first.")
        pillm.check_model_file(model.path)
        return PiSession(self, model)


class PiSession(pillm.Session):
    """A model file on a Raspberry Pi."""

    def __init__(self, runner: Pi4Runner, model: pillm.ModelFile) -> None:
        self._runner, self._model = runner, model
        self._remote = pillm.Remote(runner.host, ssh_config=runner.ssh_config)

    def close(self) -> None:
        """Close the connection."""
        self._remote.close()

    def answer(self, requests: Iterator[pillm.Request]) -> Iterator[tuple[pillm.Request, pillm.Answer | pillm.Failure]]:
        """Raise ConfigError: this runner only times models."""
        raise pillm.ConfigError("runner 'pi4' times models and does not answer yet. Score the same file with runner 'local'.")

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
