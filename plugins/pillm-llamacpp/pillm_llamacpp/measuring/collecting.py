"""Sum the squares of what each weight is multiplied with, as llama-imatrix does; inside a worker."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llama_cpp.llama_cpp as llama
import numpy as np

from pillm_llamacpp.inference.engine import Model, start
from pillm_llamacpp.measuring.reading import Reader, read_whole
from pillm_llamacpp.measuring.tensors import F32, Tensor, array, operations, weight_name
from pillm_llamacpp.quantizing.imatrix import Imatrix, write
from pillm_llamacpp.workers.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from pillm_llamacpp.workers.pipe import Packet

_HEADS = ("output.weight", "token_embd.weight")


class Collector:
    """Sees each matrix product of a decode and adds up the squares of its right side, per column and expert."""

    def __init__(self, *, head: bool) -> None:
        """Collect for the layers' weights; with `head` for the output head too, tied or not."""
        numbers = operations()
        self._product, self._routed = numbers["MUL_MAT"], numbers["MUL_MAT_ID"]
        self._head = head
        self.sums: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}
        self.counts: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}
        self.error: Exception | None = None
        self._squared: tuple[int, np.ndarray[Any, Any]] | None = None
        # llama.cpp calls it for as long as the context lives
        self.watch = llama.ggml_backend_sched_eval_callback(self._seen)

    def forget(self) -> None:
        """Say that the next decode begins: its tensors may lie where the last one's were."""
        self._squared = None

    def _seen(self, pointer: int, ask: bool, _: object) -> bool:
        try:
            tensor = ctypes.cast(pointer, ctypes.POINTER(Tensor)).contents
            if ask:
                return self._wanted(tensor)
            if tensor.op == self._routed:
                self._add_routed(tensor)
            else:
                self._add(tensor)
        except Exception as error:  # noqa: BLE001 - an error cannot pass through C; it is raised after the decode
            self.error = self.error or error
            return False
        return True

    def _wanted(self, tensor: Tensor) -> bool:
        if tensor.op not in (self._product, self._routed):
            return False
        name = weight_name(tensor.src[0].contents)
        right = tensor.src[1].contents.type == F32
        return right and (name.startswith("blk.") or (self._head and name in _HEADS))

    def _add(self, tensor: Tensor) -> None:
        weight, right = tensor.src[0].contents, tensor.src[1].contents
        matrices = weight.ne[2] * weight.ne[3]
        if matrices == 1:
            place = ctypes.addressof(right)
            if self._squared is None or self._squared[0] != place:  # q, k and v share their right side, so do gate and up
                values = array(right).reshape(-1, right.ne[0])
                self._squared = place, np.square(values).sum(axis=0, dtype=np.float64)
            self._put(weight, self._squared[1][None], self._rows(right))
            return
        values = array(right)
        sums = np.zeros((matrices, right.ne[0]))
        for outer in range(right.ne[3]):
            for inner in range(right.ne[2]):
                matrix = (outer % weight.ne[3]) * weight.ne[2] + inner % weight.ne[2]
                sums[matrix] += np.square(values[outer, inner]).sum(axis=0, dtype=np.float64)
        self._put(weight, sums, self._rows(right) / matrices)

    @staticmethod
    def _rows(right: Tensor) -> float:
        return float(right.ne[1] * right.ne[2] * right.ne[3])

    def _add_routed(self, tensor: Tensor) -> None:
        """Give each row to the expert that was chosen for it."""
        weight, right = tensor.src[0].contents, tensor.src[1].contents
        chosen = array(tensor.src[2].contents)[0, 0]  # (tokens, experts used)
        values = array(right)[0]  # (tokens, 1 or experts used, columns)
        sums, counts = np.zeros((weight.ne[2], right.ne[0])), np.zeros(weight.ne[2])
        for slot in range(chosen.shape[1]):
            squares = np.square(values[:, slot % values.shape[1]])
            np.add.at(sums, chosen[:, slot], squares)
            np.add.at(counts, chosen[:, slot], 1)
        self._put(weight, sums, counts)

    def _put(self, weight: Tensor, sums: np.ndarray[Any, Any], count: Any) -> None:
        name = weight_name(weight)
        if not np.isfinite(sums).all():
            raise Refusal("data", f"the activations before {name} are not finite; the model cannot be measured")
        if name not in self.sums:
            self.sums[name] = np.zeros(sums.shape)
            self.counts[name] = np.zeros(np.size(count))
        self.sums[name] += sums
        self.counts[name] += count


def watched(message: Packet, send: Callable[..., None], collector: Collector) -> int:
    """Read the texts with a model while its products are seen; send how many tokens were read, return how long a piece is."""
    log = start()
    model = Model(message["model"], log)
    context: int = min(message["context"], model.context or message["context"])
    conversations = read_whole(model, message["texts"], context)
    send(total=sum(len(one.ids) for one in conversations))
    reader = Reader(
        model, log, threads=message["threads"], longest=max(len(one.ids) for one in conversations), watch=collector.watch
    )
    try:
        for count, _ in reader.read(conversations):
            if collector.error:
                raise collector.error
            collector.forget()
            send(read=count)
    finally:
        reader.close()
        model.close()
    return context


def collect(message: Packet, send: Callable[..., None]) -> None:
    """Read the texts with a model and write the importance matrix to `out`."""
    collector = Collector(head=message["head"])
    context = watched(message, send, collector)
    write(_result(collector, context, message["datasets"]), Path(message["out"]))
    send(done=True)


def _result(collector: Collector, context: int, datasets: list[str]) -> Imatrix:
    if not collector.sums:
        raise Refusal("backend", "llama.cpp made no matrix product that an importance matrix could be computed from")
    sums = {name: value.astype(np.float32) for name, value in collector.sums.items()}
    most = max(float(value.max()) for value in collector.counts.values())
    return Imatrix(
        tensors={name: value[0] if len(value) == 1 else value for name, value in sums.items()},
        counts={name: value.astype(np.float32) for name, value in collector.counts.items()},
        chunks=max(1, round(most / context)), datasets=tuple(datasets), chunk_size=context,
    )  # fmt: skip
