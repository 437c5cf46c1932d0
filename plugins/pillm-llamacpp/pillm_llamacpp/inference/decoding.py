"""The options of decoding, which the teacher and the runners share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

import pillm

TUNING: dict[str, Any] = {"key": False}
_CONTEXT = "Tokens of prompt and answer; none: the model's own, at most 4096."
_PARALLEL = "Answers decoded together; cut, with a warning, where free memory does not hold them."
_PREFIX = (
    "Where what prompts have in common at their beginning is kept for the next start: a file, auto (the user's cache, at most "
    "1 GiB) or none. The file holds the tokens of that beginning."
)
_THREADS = "Threads to decode with; none: one per physical core, a single one for files under 48 MB."


class Decoding(pillm.Backend):
    """How llama.cpp answers from a model file; mixed into the backends that answer with it."""

    context: int | None = Field(None, ge=8, description=_CONTEXT)
    max_tokens: int = Field(256, ge=1, description="Tokens after which an answer is cut; never exceeded.")
    temperature: float = Field(0.0, ge=0.0, le=5.0, description="0 answers greedily.")
    seed: int = Field(0, ge=0, description="Seed of answers with a temperature.")
    constrain: bool = Field(False, description="Hold answers to the row's JSON Schema by a grammar.")
    logprobs: int = Field(0, ge=0, le=1024, description="Alternatives to record per token, with log-probabilities.")
    threads: int | None = Field(None, ge=1, le=256, description=_THREADS, json_schema_extra=TUNING)
    batch: int = Field(512, ge=1, le=8192, description="Tokens decoded at once at most.", json_schema_extra=TUNING)
    parallel: int = Field(8, ge=1, le=64, description=_PARALLEL, json_schema_extra=TUNING)

    prefix: str = Field("none", min_length=1, description=_PREFIX, json_schema_extra=TUNING)

    def check_prompts(self, prompts: Sequence[pillm.Prompt]) -> None:
        """Raise ConfigError naming the first row whose schema `constrain` could not hold answers to."""
        if self.constrain:
            check_schemas(prompts)

    def session(self, file: Path, **more: Any) -> pillm.Session:
        """Open a session on a model file with these options."""
        from pillm_llamacpp.inference.session import LocalSession, Settings

        names = type(self).model_fields.keys() & Settings.__dataclass_fields__.keys() - {"model", "device"}
        if self.prefix != "none":
            more = {"model": pillm.sha256_file(file), **more}
        return LocalSession(file, Settings(**{name: getattr(self, name) for name in names}, **more))


def check_schemas(prompts: Sequence[pillm.Prompt]) -> None:
    """Raise ConfigError naming the first row whose schema no grammar can hold answers to."""
    from pillm_llamacpp.grammars.grammar import compile_schema, fingerprint

    seen: set[str] = set()
    for prompt in prompts:
        if prompt.schema is not None and (key := fingerprint(prompt.schema)) not in seen:
            compile_schema(prompt.schema, where=prompt.where or prompt.id)
            seen.add(key)
