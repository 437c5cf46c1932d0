"""Quantise a model file, inside a worker: llama.cpp aborts on what it did not expect."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import llama_cpp.llama_cpp as llama

from pillm_llamacpp.workers.serving import start

if TYPE_CHECKING:
    from collections.abc import Callable

    from pillm_llamacpp.workers.pipe import Packet

_TENSOR = re.compile(r"^\[\s*(\d+)/\s*(\d+)\]")
_FALLBACK = re.compile(r"warning: (\S+)\s+- ncols\s+(\d+) not divisible by\s+(\d+) .*-> falling back to\s+(\w+)")


def quantize(message: Packet, send: Callable[..., None]) -> None:
    """Quantise `source` into `target` as `ftype`; send progress per tensor, then the fallbacks that were taken."""
    log = start()
    fallbacks: list[list[str]] = []

    def listen(line: str) -> None:
        if found := _TENSOR.match(line):
            send(progress=int(found[1]), total=int(found[2]))
        elif found := _FALLBACK.search(line):
            fallbacks.append([found[1], found[2], found[4]])

    params = llama.llama_model_quantize_default_params()
    params.ftype = message["ftype"]
    params.nthread = message["threads"]
    log.lines.clear()
    log.listener = listen
    try:
        failed = llama.llama_model_quantize(message["source"].encode(), message["target"].encode(), params)
    finally:
        log.listener = None
    if failed:
        reason = log.reason()
        # the file is read through a map, so a stream's error is always one of writing
        kind = "storage" if "iostream error" in reason or "basic_ios" in reason else "backend"
        send(error=kind, message=reason)
    else:
        send(done=True, fallbacks=fallbacks)
