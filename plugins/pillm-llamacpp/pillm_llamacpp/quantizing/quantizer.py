"""Quantise a model file, inside a worker: llama.cpp aborts on what it did not expect."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import llama_cpp.llama_cpp as llama

from pillm_llamacpp.inference.engine import start
from pillm_llamacpp.quantizing.settings import Settings
from pillm_llamacpp.quantizing.tensortypes import header_of, stored_bytes
from pillm_llamacpp.workers.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from pillm_llamacpp.workers.pipe import Packet

_TENSOR = re.compile(r"^\[\s*(\d+)/\s*(\d+)\]")
_FALLBACK = re.compile(r"warning: (\S+)\s+- ncols\s+(\d+) not divisible by\s+(\d+) .*-> falling back to\s+(\w+)")
_PLANNED = re.compile(r"^\[\s*\d+/\s*\d+\]\s+(\S+)\s+- \[.*\], type =\s*\w+, size =.*-> .*\((\w+)\)$")
_ALIGNMENT = 32


def quantize(message: Packet, send: Callable[..., None]) -> None:
    """Quantise `source` into `target` as `ftype`; send progress per tensor, then the fallbacks that were taken."""
    fallbacks: list[list[str]] = []

    def listen(line: str) -> None:
        if found := _TENSOR.match(line):
            send(progress=int(found[1]), total=int(found[2]))
        elif found := _FALLBACK.search(line):
            fallbacks.append([found[1], found[2], found[4]])

    reason = _run(message, Settings(message), listen)
    if reason:
        # the file is read through a map, so a stream's error is always one of writing
        kind = "storage" if "iostream error" in reason or "basic_ios" in reason else "backend"
        send(error=kind, message=reason)
    else:
        send(done=True, fallbacks=fallbacks)


def plan(message: Packet, send: Callable[..., None]) -> None:
    """Send what quantising would store, without doing it: each tensor's name, type and bytes, and the file's bytes."""
    types: dict[str, str] = {}

    def listen(line: str) -> None:
        if found := _PLANNED.match(line):
            types[found[1]] = found[2].upper()

    settings = Settings(message)
    settings.params.dry_run = True
    reason = _run({**message, "target": ""}, settings, listen)
    if reason:
        raise Refusal("backend", reason)
    header = header_of(message["source"], settings.keys)
    tensors: list[tuple[str, str, int]] = []
    for stored in header.tensors:
        type_ = types.get(stored.name, stored.type)
        size = stored.bytes if type_ == stored.type else stored_bytes(type_, stored.type, stored.bytes)
        tensors.append((stored.name, type_, size))
    send(tensors=tensors, bytes=header.bytes + sum(-(-size // _ALIGNMENT) * _ALIGNMENT for _, _, size in tensors))


def _run(message: Packet, settings: Settings, listen: Callable[[str], None]) -> str:
    """Call llama.cpp's quantiser; return why it failed, or nothing."""
    log = start()
    log.lines.clear()
    log.listener = listen
    try:
        failed = llama.llama_model_quantize(message["source"].encode(), message["target"].encode(), settings.params)
    finally:
        log.listener = None
    return log.reason() if failed else ""
