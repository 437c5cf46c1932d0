"""The runner `pi4`: model files answer and are timed on a Raspberry Pi, by the llama.cpp that is installed there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator

import pillm
from pillm_llamacpp.boards.boardbench import BoardBench
from pillm_llamacpp.boards.boardsession import Serving
from pillm_llamacpp.inference.decoding import TUNING, check_schemas

_PARALLEL = "Answers written at once, each with a cache of `context` tokens in the memory there."


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
    parallel: int = Field(1, ge=1, le=64, description=_PARALLEL, json_schema_extra=TUNING)
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
        names = type(self).model_fields.keys() & Serving.__dataclass_fields__.keys()
        serving = Serving(**{name: getattr(self, name) for name in names})
        return BoardBench(self.remote(), model, serving, program=self.program)
