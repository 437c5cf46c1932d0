"""What a worker does with one open model: answer, encode, embed and time."""

from __future__ import annotations

import re
import time
from datetime import date
from typing import TYPE_CHECKING, Any

import jinja2
import llama_cpp.llama_cpp as llama

from pillm_llamacpp.batching import Batcher, Job
from pillm_llamacpp.chat import ChatTemplate
from pillm_llamacpp.engine import Context, Log, Model
from pillm_llamacpp.refusal import Refusal
from pillm_llamacpp.sampling import Chooser, Grammar

if TYPE_CHECKING:
    from pillm_llamacpp.pipe import Packet

_CACHE_BYTES = 512 * 1024 * 1024
_GRAMMARS = 64
_THINKING = re.compile(r"<think>\s*\Z")
_THOUGHT_OUT = "\n</think>\n\n"
_log: Log | None = None


def start() -> Log:
    """Start llama.cpp in this process and return its log."""
    global _log
    if _log is None:
        _log = Log()
        llama.llama_backend_init()
    return _log


class Served:
    """An open model with its template, its cache and the grammars that were compiled for it."""

    def __init__(self, *, path: str, threads: int = 1, context: int | None = None, **options: Any) -> None:
        """Load a model; `options` are vocab_only, batch, parallel and gpu_layers."""
        log = start()
        began = time.perf_counter()
        self.vocab_only: bool = options.get("vocab_only", False)
        self.model = Model(path, log, vocab_only=self.vocab_only, gpu_layers=options.get("gpu_layers", 0))
        self.threads = threads
        self.batch = options.get("batch")
        self.log = log
        self._template = self._chat_template()
        self._grammars: dict[str, Grammar] = {}
        self.context = 0
        self.batcher: Batcher | None = None
        if not self.vocab_only:
            self.context = min(self.model.context or 4096, context or 4096)
            self._make_batcher(options.get("parallel", 1))
        self.load_ms = (time.perf_counter() - began) * 1000

    def _make_batcher(self, parallel: int) -> None:
        affordable = _CACHE_BYTES // (self.context * self.model.kv_bytes)
        sequences = max(1, min(parallel, affordable))
        context = Context(self.model, self.log, cells=self.context, sequences=sequences, threads=self.threads, batch=self.batch)
        self.batcher = Batcher(self.model, context, sequences)

    def _chat_template(self) -> ChatTemplate | None:
        source = self.model.template
        if source is None:
            return None
        specials = {f"{kind}_token": self.model.special(kind) for kind in ("bos", "eos", "pad")}
        try:
            return ChatTemplate(source, {name: text for name, text in specials.items() if text})
        except jinja2.TemplateError as error:
            raise Refusal("data", f"the chat template in the file cannot be read: {error}") from error

    def facts(self) -> Packet:
        """Return what the other side wants to know about the model."""
        return {
            "context": self.context,
            "vocabulary": self.model.n_vocab,
            "template": self._template is not None,
            "load_ms": self.load_ms,
            "ends": sorted(self.model.ends),
            "name": self.model.meta("general.name"),
            "contract": self.model.meta("pillm.contract"),
            "tokenizer": self.model.meta("pillm.tokenizer"),
        }

    def ask(self, operation: str, message: Packet) -> Packet:
        """Answer an operation that is done at once."""
        if operation == "encode":
            return {"rows": self._encoded(message["rows"], message.get("day"))}
        if operation == "tokenize":
            return {"ids": self.model.tokenize(message["text"])}
        if operation == "tokens":
            return {"tokens": [self.model.shown(token) if token < self.model.n_vocab else "?" for token in message["ids"]]}
        if operation == "embed":
            from pillm_llamacpp.embedding import embed

            return {"vectors": embed(self, message["texts"])}
        if operation == "follow":
            from pillm_llamacpp.following import follow

            return {"next": follow(self, message["ids"])}
        if operation == "bench":
            from pillm_llamacpp.timing import bench

            return bench(self, **message)
        raise Refusal("backend", f"there is no operation {operation!r}")

    def _encoded(self, rows: list[Packet], day: str | None) -> list[Packet]:
        """Return each row's text and ids, as they were on a day where one is given."""
        if self._template is None or day is None:
            return [self._encode(row) for row in rows]
        self._template.day = date.fromisoformat(day)
        try:
            return [self._encode(row) for row in rows]
        finally:
            self._template.day = None

    def _encode(self, row: Packet) -> Packet:
        text = self.render(row["messages"], row.get("tools") or (), ask=row["ask"]) + row.get("suffix", "")
        return {"text": text, "ids": self.model.tokenize(text)}

    def render(self, messages: list[Packet], tools: Any, *, ask: bool) -> str:
        """Return a conversation as text; raise Refusal where the template will not render it."""
        if self._template is None:
            raise Refusal("data", "the file carries no chat template, so it cannot be asked; export it again from its folder")
        try:
            return self._template.render(messages, tools=tools, ask=ask)
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise Refusal("backend", f"the chat template does not render these messages: {error}") from error

    def add(self, message: Packet) -> None:
        """Queue a request; raise Refusal where it cannot be answered."""
        if self.batcher is None:
            raise Refusal("backend", "only the vocabulary was loaded")
        text = self.render(message["messages"], message.get("tools") or (), ask=True)
        if message.get("grammar") and _THINKING.search(text):
            # a grammar leaves no room for thoughts, so they are over before they begin
            text += _THOUGHT_OUT
        try:
            prompt = self.model.tokenize(text)
        except UnicodeEncodeError as error:
            raise Refusal("backend", f"the prompt is not Unicode text: {error}") from error
        room = self.context - len(prompt)
        if not prompt or room < 1:
            raise Refusal("backend", f"the prompt has {len(prompt)} tokens; the context is {self.context}")
        grammar = self._grammar(message["grammar"]) if message.get("grammar") else None
        chooser = Chooser(temperature=message["temperature"], seed=message["seed"], grammar=grammar)
        self.batcher.add(Job(
            id=message["id"], prompt=prompt, max_tokens=min(message["max_tokens"], room), chooser=chooser,
            logprobs=message["logprobs"],
        ))  # fmt: skip

    def _grammar(self, source: str) -> Grammar:
        if source not in self._grammars:
            if len(self._grammars) >= _GRAMMARS:
                self._grammars.pop(next(iter(self._grammars))).close()
            self._grammars[source] = Grammar.compile(self.model, source)
        return self._grammars[source].copy()
