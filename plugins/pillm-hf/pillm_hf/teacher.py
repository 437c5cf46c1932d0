"""The teacher `hf`: a local model, or one of the hub, answering in batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

from pydantic import Field, PrivateAttr

import pillm
from pillm_hf.answering.answers import Answerer, Result
from pillm_hf.answering.generation import Generation
from pillm_hf.fields import REVISION
from pillm_hf.models.hub import find_here, locate, require_model
from pillm_hf.models.loading import load_adapted, settled_dtype
from pillm_hf.models.quantizing import quantization
from pillm_hf.rows.opening import load_chat


class HFTeacher(Generation, pillm.Teacher):
    """A transformers model on this machine: a folder, an installed name, or a hub id."""

    name: ClassVar[str] = "hf"

    model: str = Field(description="A model folder, the name of an installed model, or a hub id such as owner/name.")
    revision: str | None = REVISION
    logprobs: int = Field(0, ge=0, le=1024, description="Keep this many most likely tokens, with log-probabilities, per token.")

    _loaded: Answerer | None = PrivateAttr(default=None)

    def identity(self) -> dict[str, Any]:
        """Return what the answers depend on: the model's content in place of its path, and the options that matter."""
        kept = super().identity()
        unused = {"revision"} if self.temperature else {"revision", "seed", "top_p", "top_k"}  # nothing is drawn at 0
        kept = {name: value for name, value in kept.items() if name not in unused}
        return {**kept, "model": locate(self.model, self.revision).identity}

    @property
    def model_source(self) -> tuple[str, str | None]:
        """Return the model and its revision, as `locate` takes them."""
        return self.model, self.revision

    def origin(self) -> pillm.Origin:
        """Return the model's name, and its commit and folder where it lies on this machine."""
        here = find_here(self.model, self.revision)
        if here is None:
            return pillm.Origin(name=self.model, revision=self.revision)
        return pillm.Origin(name=here.repository or here.label, revision=here.commit or None, folder=here.folder)

    def check(self) -> None:
        """Raise where there is no such model or no such GPU, or nothing to hold weights in 8 or 4 bit with."""
        require_model(self.model, self.revision)
        super().check()

    def estimate(self, request: pillm.Request) -> pillm.Usage:
        """Estimate tokens as characters / 4, and the answer as long as the prompt where `max_new_tokens` allows it."""
        asked = sum(len(str(message.get("content") or "")) for message in request.messages)
        prompt = max(1, -(-asked // 4))
        return pillm.Usage(prompt_tokens=prompt, completion_tokens=min(self.max_new_tokens, prompt))

    @contextmanager
    def open(self) -> Iterator[Self]:
        """Keep the model loaded while the context lasts."""
        mine = self._loaded is None
        self._loaded = self._loaded or self._load()
        try:
            yield self
        finally:
            if mine:
                self._loaded = None

    def answer(self, requests: Iterator[pillm.Request]) -> Iterator[Result]:
        """Yield each request with its answer, in any order; at most 4 batches are pulled ahead."""
        with self.open():
            loaded = self._loaded or self._load()
            yield from loaded.answer(requests, self.sampling(), self.load())

    def _load(self) -> Answerer:
        source = locate(self.model, self.revision)
        folder = source.fetch()
        chat = load_chat(folder)
        dtype = settled_dtype(self.dtype, self.device_map)
        model = load_adapted(folder, dtype, device_map=self.device_map, quantization=quantization(self.load_in, dtype))
        return Answerer(model, chat, source.label)
