"""The runners `local` and `vulkan`: llama.cpp in a worker process of this machine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

import pillm
from pillm_llamacpp.inference.decoding import TUNING, Decoding

log = logging.getLogger("pillm.llamacpp")


class LocalRunner(Decoding, pillm.Runner):
    """Runs GGUF files on this machine's CPU."""

    name: ClassVar[str] = "local"
    reads: ClassVar[frozenset[str]] = frozenset({"gguf"})
    capabilities: ClassVar[frozenset[str]] = frozenset({"answer", "bench", "embed", "grammar", "logprobs", "prefix"})

    def runs_on(self) -> pillm.Machine:
        """Return this machine."""
        return pillm.LocalMachine()

    def open(self, model: pillm.ModelFile | pillm.Checkpoint) -> pillm.Session:
        """Open a GGUF file; raise DataError where it is none, BackendError where llama.cpp cannot load it."""
        return self._open(model)

    def speed_files(self, folder: Path) -> Sequence[pillm.ModelFile]:
        """Write ten model files of random weights and return them: 2 to 261 MB in Q4_0, Q8_0 and F16."""
        from pillm_llamacpp.measuring.timefiles import LARGE, MINUTE, SMALL, TINY, write_file

        made = [(shape, type_) for shape in (MINUTE, TINY) for type_ in ("Q4_0", "Q8_0", "F16")]
        made += [(SMALL, "Q4_0"), (SMALL, "F16"), (LARGE, "Q4_0"), (LARGE, "Q8_0")]
        return [
            pillm.ModelFile.of(write_file(folder / f"{shape.layers}-{type_}.gguf", shape, type_), type_)
            for shape, type_ in made
        ]

    def _open(self, model: pillm.ModelFile | pillm.Checkpoint, **more: Any) -> pillm.Session:
        if isinstance(model, pillm.Checkpoint):
            raise pillm.ConfigError(
                f"runner {self.name!r} reads GGUF files, and {model.path} is a model folder. "
                "Export it first, or use runner 'hf'."
            )
        return self.session(model.path, **more)


class VulkanRunner(LocalRunner):
    """Runs GGUF files on a graphics processor through Vulkan, once its logits were compared with the CPU's."""

    name: ClassVar[str] = "vulkan"

    gpu_layers: int = Field(-1, ge=-1, description="Layers on the graphics processor; -1: all.")
    device: str | None = Field(None, description="The graphics processor: its number or part of its name; none: the first fit.")
    force: bool = Field(False, description="Take a renderer in software too, such as llvmpipe.", json_schema_extra=TUNING)

    def check(self) -> None:
        """Raise MissingDependency where llama.cpp was built without Vulkan or sees no device, ConfigError where none is fit."""
        from pillm_llamacpp.vulkan import find_device

        find_device(self.device, force=self.force)

    def open(self, model: pillm.ModelFile | pillm.Checkpoint) -> pillm.Session:
        """Open a GGUF file; raise what `check` does, and BackendError where the device computes otherwise than the CPU."""
        from pillm_llamacpp.vulkan import check_against_cpu, find_device

        if isinstance(model, pillm.Checkpoint):
            return self._open(model)  # which refuses it
        device = find_device(self.device, force=self.force)
        pillm.check_model_file(model.path)
        options = {"context": self.context, "threads": self.threads or 1, "gpu_layers": self.gpu_layers}
        near = check_against_cpu(model.path.resolve(), device, options)
        log.info("%s computes what the CPU does for %s: %s.", device.name, model.path.name, near)
        return self._open(model, device=f"vulkan: {device.name}", graphics=str(device.index))
