"""Embed texts: open a model with a runner, turn each text into a vector, check what comes out."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

from pillm.artifacts import Checkpoint, ModelFile
from pillm.backends import Runner, Session
from pillm.errors import BackendError, ConfigError, DataError
from pillm.progress import Progress

Id = TypeVar("Id")
Vector = tuple[float, ...]


def embed(
    texts: Iterable[tuple[Id, str]], model: ModelFile | Checkpoint, runner: Runner, *, progress: Progress | None = None
) -> Iterator[tuple[Id, Vector]]:
    """Yield for each (id, text) its (id, vector), in order and as they are made; all vectors have one width.

    Raises ConfigError where the runner does not embed, DataError, with its id, for a text that it does not take (those before
    it have come), BackendError where a vector is missing or no finite numbers.
    """
    if "embed" not in runner.capabilities:
        raise ConfigError(f"runner {runner.name!r} does not embed. Choose one that does, such as 'local' or 'hf'.")
    progress = progress or Progress("embed")
    progress.start(None, "texts", message=f"{model.label} with runner {runner.name!r}")
    width = done = 0
    with runner.open(model) as session:
        for name, vector in _vectors(session, texts):
            if not vector or (width and len(vector) != width) or not all(map(math.isfinite, vector)):
                raise BackendError(f"{model.label}: text {name!r} got no vector of finite numbers. Nothing else was lost.")
            width, done = len(vector), done + 1
            progress.advance()
            yield name, tuple(vector)
    progress.finish(f"{done} texts, {width} numbers each")


def _vectors(session: Session, texts: Iterable[tuple[Id, str]]) -> Iterator[tuple[Id, Vector | None]]:
    """Yield each id with its vector, None for a missing one. Sessions pull ahead, so one that refuses is asked text by text."""
    pulled: deque[tuple[Id, str]] = deque()

    def given() -> Iterator[str]:
        for one in texts:
            pulled.append(one)
            yield one[1]

    vectors = session.embed(given())
    try:
        while (vector := next(vectors, None)) is not None:
            yield pulled.popleft()[0], vector
    except DataError:
        for name, text in pulled:
            try:
                (vector,) = session.embed([text])
            except DataError as refused:
                raise DataError(f"text {name!r}: {refused}") from refused
            yield name, vector
        raise  # it was not one of these: the next could not be read
    for name, _ in pulled:
        yield name, None
