"""The runners `local` and `vulkan`: llama.cpp in a worker process of this machine."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

import pillm

_TUNING: dict[str, Any] = {"key": False}
_THREADS = "Threads to decode with; none: one per physical core, a single one for files under 48 MB."


class LocalRunner(pillm.Runner):
    """Runs GGUF files on this machine's CPU."""

    name: ClassVar[str] = "local"
    reads: ClassVar[frozenset[str]] = frozenset({"gguf"})

    context: int | None = Field(None, ge=8, description="Tokens of prompt and answer; none: the model's own, at most 4096.")
    max_tokens: int = Field(256, ge=1, description="Tokens after which an answer is cut; never exceeded.")
    temperature: float = Field(0.0, ge=0.0, le=5.0, description="0 answers greedily.")
    seed: int = Field(0, ge=0, description="Seed of answers with a temperature.")
    constrain: bool = Field(False, description="Hold answers to the row's JSON Schema by a grammar.")
    logprobs: int = Field(0, ge=0, le=1024, description="Alternatives to record per token, with log-probabilities.")
    threads: int | None = Field(None, ge=1, le=256, description=_THREADS, json_schema_extra=_TUNING)
    batch: int = Field(512, ge=1, le=8192, description="Tokens decoded at once at most.", json_schema_extra=_TUNING)
    parallel: int = Field(8, ge=1, le=64, description="Answers decoded together.", json_schema_extra=_TUNING)

    def open(self, model: pillm.ModelFile | pillm.Checkpoint) -> pillm.Session:
        """Open a GGUF file; raise DataError where it is none, BackendError where llama.cpp cannot load it."""
        return self._open(model)

    def _open(self, model: pillm.ModelFile | pillm.Checkpoint, **more: Any) -> pillm.Session:
        from pillm_llamacpp.session import LocalSession, Settings

        if isinstance(model, pillm.Checkpoint):
            raise pillm.ConfigError(
                f"runner {self.name!r} reads GGUF files, and {model.path} is a model folder. "
                "Export it first, or use runner 'hf'."
            )
        names = type(self).model_fields.keys() & Settings.__dataclass_fields__.keys()
        return LocalSession(model.path, Settings(**{name: getattr(self, name) for name in names}, **more))


class VulkanRunner(LocalRunner):
    """Runs GGUF files on a graphics processor through Vulkan."""

    name: ClassVar[str] = "vulkan"

    gpu_layers: int = Field(-1, ge=-1, description="Layers on the graphics processor; -1: all.")

    def open(self, model: pillm.ModelFile | pillm.Checkpoint) -> pillm.Session:
        """Open a GGUF file; raise MissingDependency where llama.cpp was built without Vulkan or sees no device."""
        from pillm_llamacpp.vulkan import require_vulkan

        device = require_vulkan()
        return self._open(model, device=f"vulkan: {device}")
