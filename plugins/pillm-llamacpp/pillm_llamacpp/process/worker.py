"""The process that holds llama.cpp. It speaks length-prefixed JSON on its pipes and leaves when its input ends."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
import traceback
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pillm_llamacpp.workers import pipe
from pillm_llamacpp.workers.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from pillm_llamacpp.process.serving import Served
    from pillm_llamacpp.workers.pipe import Packet


_JOBS = {
    "quantize": "quantizing.quantizer:quantize",
    "plan": "quantizing.quantizer:plan",
    "collect": "measuring.collecting:collect",
    "reference": "measuring.comparing:make_reference",
    "diverge": "measuring.comparing:diverge",
    "moments": "choosing.products:collect",
}
"""Operations that need no open model: the function that gets the message and sends the replies."""


class Inbox:
    """Messages as they arrive; a thread reads them, so that the end of input ends the process even during a decode."""

    def __init__(self, file: IO[bytes]) -> None:
        self._queue: queue.SimpleQueue[Packet] = queue.SimpleQueue()
        self._file = file
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while (message := pipe.read(self._file)) is not None:
            self._queue.put(message)
        os._exit(0)

    def get(self) -> Packet:
        """Return the next message; wait for it."""
        return self._queue.get()

    def waiting(self) -> bool:
        """Return whether a message is there."""
        return not self._queue.empty()


class Server:
    """Does what the messages ask, one after another, until the input ends."""

    def __init__(self, inbox: Inbox, out: IO[bytes]) -> None:
        self._inbox, self._out = inbox, out
        self._served: Served | None = None

    def send(self, **message: Any) -> None:
        """Write one message."""
        pipe.write(self._out, message)

    def run(self) -> None:
        """Serve for ever; the inbox ends the process."""
        while True:
            served = self._served
            while self._inbox.waiting() or not (served and served.batcher and served.batcher.busy) or served.batcher.hungry:
                self._handle(self._inbox.get())
                served = self._served
            try:
                for result in served.batcher.step():
                    self.send(**result)
            except Refusal as error:
                served.batcher.cancel()
                self.send(error=error.kind, message=str(error))

    def _handle(self, message: Packet) -> None:
        operations: dict[str, Callable[[Packet], None]] = {
            "open": self._open,
            "generate": self._generate,
            "end": self._end,
            "cancel": self._cancel,
            "devices": self._devices,
            "graphics": self._graphics,
            "types": self._types,
            "unfinite": self._unfinite,
            "write": self._write,
        }
        name = str(message.pop("op"))
        try:
            if name in operations:
                operations[name](message)
            elif name in _JOBS:
                module, _, function = _JOBS[name].partition(":")
                getattr(import_module(f"pillm_llamacpp.{module}"), function)(message, self.send)
            elif self._served is None:
                raise Refusal("backend", f"no model is open for {name!r}")
            else:
                self.send(**self._served.ask(name, message))
        except Refusal as error:
            self.send(error=error.kind, message=str(error))

    def _open(self, message: Packet) -> None:
        from pillm_llamacpp.process.serving import Served

        self._served = Served(**message)
        self.send(**self._served.facts())

    def _devices(self, _: Packet) -> None:
        from pillm_llamacpp.inference.devices import devices

        self.send(devices=devices())

    def _graphics(self, _: Packet) -> None:
        from pillm_llamacpp.inference.graphics import graphics

        self.send(**graphics())

    def _types(self, message: Packet) -> None:
        from pillm_llamacpp.quantizing.tensortypes import types_of

        self.send(types=types_of(message["path"]))

    def _unfinite(self, message: Packet) -> None:
        from pillm_llamacpp.gates.tensors import unfinite

        self.send(tensors=unfinite(message["path"]))

    def _write(self, message: Packet) -> None:
        # the threads of the pass are enough: a library's own would wait for each other
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        from pillm_llamacpp.writing.streaming import write

        write(message, self.send)

    def _generate(self, message: Packet) -> None:
        if self._served is None:
            raise Refusal("backend", "no model is open to answer")
        self._served.ready().more = True
        try:
            self._served.add(message)
        except Refusal as error:
            self.send(id=message["id"], refused=str(error))

    def _end(self, _: Packet) -> None:
        if self._served and self._served.batcher:
            self._served.batcher.more = False

    def _cancel(self, _: Packet) -> None:
        if self._served and self._served.batcher:
            self._served.batcher.cancel()
        self.send(cancelled=True)


def main() -> None:
    """Serve on the standard pipes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _go_first()
    out = os.fdopen(os.dup(1), "wb")
    # whatever the library prints must not mix with the messages
    os.dup2(2, 1)
    try:
        Server(Inbox(sys.stdin.buffer), out).run()
    except Exception:  # noqa: BLE001 - whatever it is, the other side is told how the process ended
        traceback.print_exc()
        # Python would abort on its way out over the thread that reads, and that would look like llama.cpp's doing
        os._exit(1)


def _go_first() -> None:
    """Be what the kernel ends where memory runs out, before pillm, which then says so."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("900")


if __name__ == "__main__":
    main()
