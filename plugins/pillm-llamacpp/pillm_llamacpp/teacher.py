"""The teacher `gguf`: a model file of this machine that labels prompts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, PrivateAttr

import pillm
from pillm_llamacpp.inference.decoding import Decoding


class GGUFTeacher(Decoding, pillm.Teacher):
    """Answers from a GGUF file on this machine."""

    name: ClassVar[str] = "gguf"

    model: Path = Field(description="The .gguf file; an answer is known by its content, wherever it lies.")

    _session: pillm.Session | None = PrivateAttr(None)

    def identity(self) -> dict[str, Any]:
        """Return the options, with the file's content in place of its path, and without a seed that nothing is drawn with."""
        unused = {"model"} if self.temperature else {"model", "seed"}
        kept = {name: value for name, value in super().identity().items() if name not in unused}
        return {**kept, "sha256": _sha256(self.model, _stamp(self.model))}

    def origin(self) -> pillm.Origin:
        """Return the file's name; what it is made of stands in its metadata."""
        return pillm.Origin(name=self.model.stem)

    def check(self) -> None:
        """Raise DataError where the file is not there or is no GGUF model, UnsafeError where it was made to do harm."""
        _stamp(self.model)

    def estimate(self, request: pillm.Request) -> pillm.Usage:
        """Estimate tokens as characters / 4, and the answer as long as the prompt where `max_tokens` allows it."""
        asked = sum(len(str(message.get("content") or "")) for message in request.messages)
        prompt = max(1, -(-asked // 4))
        return pillm.Usage(prompt_tokens=prompt, completion_tokens=min(self.max_tokens, prompt))

    @contextmanager
    def open(self) -> Iterator[Self]:
        """Keep the model loaded between calls of `answer`."""
        if self._session is not None:
            yield self
            return
        with self.session(self.model) as session:
            self._session = session
            try:
                yield self
            finally:
                self._session = None

    def answer(self, requests: Iterator[pillm.Request]) -> Iterator[tuple[pillm.Request, pillm.Answer | pillm.Failure]]:
        """Pull requests and yield each with its answer or failure, in the order in which they are done."""
        with self.open():
            if self._session is None:
                raise pillm.BackendError(f"teacher 'gguf': {self.model} is not open.")
            yield from self._session.answer(requests)

    def greedy(self) -> Self:
        """Return the same teacher answering without sampling and without a grammar; it opens its own session."""
        made = super().greedy()
        made._session = None
        return made


def _stamp(path: Path) -> tuple[int, int]:
    pillm.check_model_file(path)
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=8)
def _sha256(path: Path, stamp: tuple[int, int]) -> str:
    """Return the file's sha256; `stamp` makes a changed file a new question."""
    return pillm.ModelFile.of(path, "").sha256
