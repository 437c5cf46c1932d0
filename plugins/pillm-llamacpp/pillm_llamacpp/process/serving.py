"""What a worker does with one open model: answer, encode, embed and time."""

from __future__ import annotations

import re
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import llama_cpp.llama_cpp as llama

from pillm_llamacpp.inference.batching import Batcher, Job
from pillm_llamacpp.inference.chat import ChatTemplate
from pillm_llamacpp.inference.engine import Context, Model, start
from pillm_llamacpp.inference.machine import free_memory
from pillm_llamacpp.inference.prefixes import Prefixes, Storage, key_of
from pillm_llamacpp.inference.processor import features, repacks
from pillm_llamacpp.inference.sampling import Chooser, Grammar
from pillm_llamacpp.workers.refusal import Refusal

if TYPE_CHECKING:
    from pillm_llamacpp.process.embedding import Embedder
    from pillm_llamacpp.process.timing import Stopwatch
    from pillm_llamacpp.workers.pipe import Packet

_GRAMMARS = 64
_THINKING = re.compile(r"<think>\s*\Z")
_THOUGHT_OUT = "\n</think>\n\n"


def sequences(asked: int, *, cost: int, free: int) -> int:
    """Return how many answers to decode together: as many as asked, or what three quarters of the free memory hold.

    `cost` is the cache of one, `free` the memory that there is, both in bytes.
    """
    return max(1, min(asked, free * 3 // 4 // cost))


def _thought_out(text: str) -> str:
    """Return a prompt for an answer that a grammar holds: it leaves no room for thoughts, so they end before they begin."""
    return text + _THOUGHT_OUT if _THINKING.search(text) else text


class Served:
    """An open model with its template, its cache and the grammars that were compiled for it."""

    def __init__(self, *, path: str, threads: int = 1, context: int | None = None, **options: Any) -> None:
        """Load a model; `options`: vocab_only, batch, parallel, gpu_layers, mapped, and `prefix`, where beginnings are kept."""
        log = start()
        began = time.perf_counter()
        self.vocab_only: bool = options.get("vocab_only", False)
        self.model = Model(
            path, log, vocab_only=self.vocab_only, gpu_layers=options.get("gpu_layers", 0), mapped=options.get("mapped", True)
        )
        self.threads = threads
        self.batch = options.get("batch")
        self.log = log
        self._prefix: Packet | None = options.get("prefix")
        self._embedders: dict[str | None, Embedder] = {}
        self._template = self._chat_template()
        self._grammars: dict[str, Grammar] = {}
        self.context = self.parallel = 0
        self.batcher: Batcher | None = None
        self.stopwatch: Stopwatch | None = None
        if not self.vocab_only:
            self.context = min(self.model.context or 4096, context or 4096)
            free = self._free_memory(options.get("gpu_layers", 0))
            self.parallel = sequences(options.get("parallel", 1), cost=self.context * self.model.kv_bytes, free=free)
        self.load_ms = (time.perf_counter() - began) * 1000

    def _free_memory(self, gpu_layers: int) -> int:
        """Return the bytes that a cache may take: of a graphics processor where layers are there, else of this machine."""
        if gpu_layers:
            from pillm_llamacpp.inference.devices import devices

            if found := [free for backend, _, free in devices() if backend != "CPU" and free]:
                return max(found)
        # what mapped weights take is still counted as free
        return free_memory() - (self.model.weight_bytes if self.model.mapped else 0)

    def ready(self) -> Batcher:
        """Return what answers; its cache is made for the first question, since a model that is only timed needs none."""
        if self.vocab_only:
            raise Refusal("backend", "only the vocabulary was loaded")
        if self.batcher is None:
            context = Context(
                self.model, self.log, cells=self.context, sequences=self.parallel, threads=self.threads, batch=self.batch
            )
            self.batcher = Batcher(self.model, context, self.parallel, self._prefixes())
        return self.batcher

    def _prefixes(self) -> Prefixes:
        if self._prefix is None:
            return Prefixes("")
        told = self._prefix
        # llama.cpp takes a state only into a cache that is cut into as many sequences
        facts = {"context": self.context, "sequences": self.parallel, "cache": "f16"}
        key = key_of(model=told["model"], engine=told["engine"], **facts)
        return Prefixes(key, Storage(path=Path(told["path"]), single=told["single"]))

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
            "sees": self.model.context,
            "writes": self.model.meta(f"{self.model.meta('general.architecture')}.attention.causal") != "false",
            "trained": self.model.meta(f"{self.model.meta('general.architecture')}.context_length"),
            "parallel": self.parallel,
            "vocabulary": self.model.n_vocab,
            "template": self._template is not None,
            "load_ms": self.load_ms,
            "features": features(),
            "repacks": repacks(),
            "ends": sorted(self.model.ends),
            "name": self.model.meta("general.name"),
            "contract": self.model.meta("pillm.contract"),
            "tokenizer": self.model.meta("pillm.tokenizer"),
            "bos": self.model.special("bos") if llama.llama_vocab_get_add_bos(self.model.vocab) else None,
            "adds_eos": bool(llama.llama_vocab_get_add_eos(self.model.vocab)),
        }

    def ask(self, operation: str, message: Packet) -> Packet:
        """Answer an operation that is done at once."""
        if operation == "encode":
            return {"rows": self._encoded(message["rows"], message.get("day"))}
        if operation == "tokenize":
            return {"ids": self.model.tokenize(message["text"], bos=message.get("special", False))}
        if operation == "text":
            return {"text": self.model.text(message["ids"])}
        if operation == "tokens":
            return {"tokens": [self.model.shown(token) if token < self.model.n_vocab else "?" for token in message["ids"]]}
        if operation == "pooling":
            from pillm_llamacpp.process.embedding import POOLINGS, pooling_of

            return {"pooling": {kind: name for name, kind in POOLINGS.items()}[pooling_of(self)]}
        if operation == "embed":
            return {"vectors": self._embedding(message.get("pooling")).vectors(message["texts"])}
        if operation in ("compare", "record"):
            from pillm_llamacpp.process import nearness

            measured: Packet = getattr(nearness, operation)(self, **message)
            return measured
        if operation in ("time", "reply", "memory"):
            from pillm_llamacpp.process import timing

            if operation == "memory":
                return timing.memory()
            self.stopwatch = self.stopwatch or timing.Stopwatch(self)
            found: Packet = getattr(self.stopwatch, operation)(**message)
            return found
        raise Refusal("backend", f"there is no operation {operation!r}")

    def _embedding(self, pooling: str | None) -> Embedder:
        from pillm_llamacpp.process.embedding import Embedder

        if pooling not in self._embedders:
            self._embedders[pooling] = Embedder(self, pooling)
        return self._embedders[pooling]

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
        text = _thought_out(text) if row.get("held") else text
        return {"text": text, "ids": self._ids(text)}

    def _ids(self, text: str) -> list[int]:
        try:
            return self.model.tokenize(text)
        except UnicodeEncodeError as error:
            raise Refusal("backend", f"the prompt is not Unicode text: {error}") from error

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
        batcher = self.ready()
        text = self.render(message["messages"], message.get("tools") or (), ask=True)
        text = _thought_out(text) if message.get("grammar") else text
        prompt = self._ids(text)
        room = self.context - len(prompt)
        if not prompt or room < 1:
            raise Refusal("backend", f"the prompt has {len(prompt)} tokens; the context is {self.context}")
        grammar = self._grammar(message["grammar"]) if message.get("grammar") else None
        chooser = Chooser(temperature=message["temperature"], seed=message["seed"], grammar=grammar)
        batcher.add(Job(
            id=message["id"], prompt=prompt, max_tokens=min(message["max_tokens"], room), chooser=chooser,
            logprobs=message["logprobs"],
        ))  # fmt: skip

    def _grammar(self, source: str) -> Grammar:
        if source not in self._grammars:
            if len(self._grammars) >= _GRAMMARS:
                self._grammars.pop(next(iter(self._grammars))).close()
            self._grammars[source] = Grammar.compile(self.model, source)
        return self._grammars[source].copy()
