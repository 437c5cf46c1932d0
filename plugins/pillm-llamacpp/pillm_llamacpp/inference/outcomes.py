"""From what llama.cpp wrote to an answer or a failure, wherever it ran."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pillm

if TYPE_CHECKING:
    from pillm_llamacpp.grammars.grammar import Compiled
    from pillm_llamacpp.workers.pipe import Packet

_MOST_SEEN = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads the results of one open model: its name, its tokenizer's hash, and what its answers are held to."""

    model: str
    tokenizer: str | None
    constrain: bool = False
    logprobs: int = 0
    _compiled: dict[str, Compiled] = field(default_factory=dict)
    _seen: dict[int, tuple[object, Compiled]] = field(default_factory=dict)
    """By the id of a schema, which is kept here so that the id stays its own: rows share schemas, and hashing takes long."""

    def compiled(self, request: pillm.Request) -> Compiled | None:
        """Return the grammar that a request's answer is held to; raise ConfigError where its schema has none."""
        schema = request.prompt.schema
        if not self.constrain or schema is None:
            return None
        from pillm_llamacpp.grammars.grammar import compile_schema, fingerprint

        if id(schema) in self._seen:
            return self._seen[id(schema)][1]
        key = fingerprint(schema)
        if key not in self._compiled:
            self._compiled[key] = compile_schema(schema, where=request.prompt.where or request.prompt.id)
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()
        self._seen[id(schema)] = (schema, self._compiled[key])
        return self._compiled[key]

    def grammar(self, request: pillm.Request) -> str | None:
        """Return that grammar as llama.cpp reads it."""
        compiled = self.compiled(request)
        return compiled.gbnf if compiled else None

    def outcome(self, request: pillm.Request, result: Packet) -> pillm.Answer | pillm.Failure:
        """Return the answer in a result: its text, ids, finish, logprobs, prompt_tokens, cached, seconds and first."""
        if "refused" in result:
            return pillm.Failure("invalid", result["refused"])
        compiled = self.compiled(request)
        if compiled and (reason := compiled.fault(result["text"])):
            ended = "" if result["finish"] == "stop" else f" (it ended by {result['finish']} after {len(result['ids'])} tokens)"
            return pillm.Failure("invalid", f"the constrained answer does not satisfy its schema: {reason}{ended}")
        usage = pillm.Usage(
            prompt_tokens=result["prompt_tokens"], completion_tokens=len(result["ids"]), cached_tokens=result["cached"]
        )
        # what a grammar held is the answer as it is, whatever its strings look like
        said = (result["text"], None, ()) if compiled else pillm.read_reply(result["text"], tools=bool(request.prompt.tools))
        content, reasoning, calls = said
        logprobs = tuple(tuple((token, value) for token, value in row) for row in result["logprobs"])
        return pillm.Answer(
            content, reasoning=reasoning, tool_calls=calls, finish_reason=result["finish"], usage=usage, model=self.model,
            token_ids=tuple(result["ids"]), logprobs=logprobs if self.logprobs else None, tokenizer_hash=self.tokenizer,
            timings={"seconds": result["seconds"], "first_token_seconds": result["first"]},
        )  # fmt: skip
