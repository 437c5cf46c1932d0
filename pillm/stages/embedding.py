"""Embed texts: open a model with a runner, turn each text into a vector, check what comes out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import tee

from pillm.artifacts import Checkpoint, ModelFile
from pillm.backends import Runner
from pillm.errors import BackendError, ConfigError
from pillm.progress import Progress


def embed(
    texts: Iterable[tuple[str, str]], model: ModelFile | Checkpoint, runner: Runner, *, progress: Progress | None = None
) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Yield for each (id, text) its (id, vector), in order and as they are made; all vectors have one width.

    Raises ConfigError where the runner does not embed, BackendError where a vector is missing or no finite numbers.
    """
    if "embed" not in runner.capabilities:
        raise ConfigError(f"runner {runner.name!r} does not embed. Choose one that does, such as 'local' or 'hf'.")
    progress = progress or Progress("embed")
    progress.start(None, "texts", message=f"{model.label} with runner {runner.name!r}")
    named, said = tee(texts)
    width = done = 0
    with runner.open(model) as session:
        vectors = session.embed(text for _, text in said)
        for name, _ in named:
            vector = next(vectors, None)
            if not vector or (width and len(vector) != width) or not all(map(math.isfinite, vector)):
                raise BackendError(f"{model.label}: text {name!r} got no vector of finite numbers. Nothing else was lost.")
            width, done = len(vector), done + 1
            progress.advance()
            yield name, tuple(vector)
    progress.finish(f"{done} texts, {width} numbers each")
