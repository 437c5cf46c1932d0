"""llama.cpp's own programs for this machine, built when first asked for: what tests and benchmarks compare with."""

from __future__ import annotations

from pathlib import Path

import pillm
from pillm_llamacpp.building.built import Built, kept_folder
from pillm_llamacpp.building.compiling import Build, build
from pillm_llamacpp.building.targets import TARGETS

TOOLS = (
    "llama-bench", "llama-completion", "llama-embedding", "llama-imatrix", "llama-perplexity", "llama-quantize", "llama-server",
    "llama-tokenize",
)  # fmt: skip
"""Built together: each build of its own would compile the library anew."""


def tool(name: str) -> Path:
    """Return the path of a program such as llama-bench, built where that was not done before; it takes minutes the first time.

    Raises what a build raises: MissingDependency where it cannot be built here, BackendError where building it failed.
    """
    target = TARGETS["this"]
    built = Built(target, kept_folder(target))
    if built.lacking((name,)):
        build(Build(target=target, programs=tuple(sorted({*TOOLS, name}))), pillm.Progress("build"))
    return built.path(name)
