"""Texts as vectors, by the path that llama-server, Ollama and others share with OpenAI."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pillm
from pillm_openai.native import Native

_TOGETHER = 16
_TOO_LONG = re.compile(r"too (?:large|long)|exceed|context (?:length|size)", re.IGNORECASE)


def embedded(native: Native, model: str, texts: Iterable[str]) -> Iterator[tuple[float, ...]]:
    """Yield one vector of length 1 per text, pooled as the server pools; a few texts are pulled ahead.

    Raises DataError for a text that the server finds too long, ConfigError where it serves no embeddings, BackendError for
    whatever else it says.
    """
    left = iter(texts)
    while group := list(islice(left, _TOGETHER)):
        status, found = native.post("/embeddings", {"model": model, "input": group, "encoding_format": "float"})
        if status != 200:
            raise _refused(native.name, status, str(found))
        yield from _vectors(native.name, found, len(group))


def _vectors(name: str, found: Any, count: int) -> list[tuple[float, ...]]:
    try:
        rows = sorted(found["data"], key=lambda row: int(row["index"]))
        vectors = [tuple(float(value) for value in row["embedding"]) for row in rows]
        if [int(row["index"]) for row in rows] != list(range(count)):
            raise ValueError(f"{len(vectors)} vectors for {count} texts")
        lengths = [math.hypot(*vector) for vector in vectors]
        if not all(0 < length < math.inf for length in lengths):
            raise ValueError("a vector without a length")
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise pillm.BackendError(f"{name} gave no embeddings that can be read ({type(error).__name__}: {error}).") from error
    return [tuple(value / length for value in vector) for vector, length in zip(vectors, lengths, strict=True)]


def _refused(name: str, status: int, said: str) -> pillm.PillmError:
    told = f"{name} answered {status}" + (f": {said}" if said else "")
    if status in (401, 403):
        return pillm.Unavailable(f"{told}. Name the variable that holds its key: -o api_key_env=NAME. Nothing was embedded.")
    if status in (404, 405, 501) or "pooling" in said.casefold():
        return pillm.ConfigError(
            f"{told}. It serves no embeddings of this model: start llama-server with --embeddings --pooling mean (or as the "
            "file pools), or embed with runner 'local'."
        )
    if status == 413 or _TOO_LONG.search(said):
        return pillm.DataError(f"{told}. Shorten the text, or start the server with a larger context and --ubatch-size.")
    return pillm.BackendError(f"{told}. The texts before it are done; the same command asks again.")
