"""Add up the products of the activations before each weight; inside a worker."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pillm_llamacpp.measuring.collecting import Collector, watched
from pillm_llamacpp.measuring.tensors import Tensor, array, weight_name
from pillm_llamacpp.workers.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from pillm_llamacpp.workers.pipe import Packet


class Products(Collector):
    """Sees each dense matrix product of a decode and adds up the products of its right side's columns, block by block."""

    def __init__(self, block: int) -> None:
        """Keep products among `block` columns at a time."""
        super().__init__(head=True)
        self._block = block
        self._shared: tuple[int, str] | None = None
        self.same: dict[str, str] = {}
        """Weight -> the first weight that has the same right side."""
        self.blocks: dict[str, list[np.ndarray[Any, np.dtype[np.float32]]]] = {}
        self.rows: dict[str, float] = {}

    def forget(self) -> None:
        """Say that the next decode begins: its tensors may lie where the last one's were."""
        self._shared = None

    def _wanted(self, tensor: Tensor) -> bool:
        return bool(tensor.op == self._product and super()._wanted(tensor))

    def _add(self, tensor: Tensor) -> None:
        weight, right = tensor.src[0].contents, tensor.src[1].contents
        if weight.ne[2] * weight.ne[3] != 1:
            return
        name, place = weight_name(weight), ctypes.addressof(right)
        if self._shared is None or self._shared[0] != place:  # q, k and v share their right side, so do gate and up
            self._shared = place, name
            self._sum(name, array(right).reshape(-1, right.ne[0]))
        self.same[name] = self._shared[1]

    def _sum(self, name: str, values: np.ndarray[Any, Any]) -> None:
        starts = range(0, values.shape[1], self._block)
        if name not in self.blocks:
            widths = [min(self._block, values.shape[1] - begin) for begin in starts]
            self.blocks[name] = [np.zeros((width, width), np.float32) for width in widths]
            self.rows[name] = 0.0
        for begin, total in zip(starts, self.blocks[name], strict=True):
            part = values[:, begin : begin + len(total)]
            total += part.T @ part
        self.rows[name] += len(values)


def collect(message: Packet, send: Callable[..., None]) -> None:
    """Read the texts with a model and write the mean products to `folder`; send the file of each weight."""
    products = Products(message["block"])
    watched(message, send, products)
    send(done=True, files=_written(products, Path(message["folder"])))


def _written(products: Products, folder: Path) -> dict[str, str]:
    """Write one file for each right side, and return the file of each weight."""
    written = {}
    for number, (name, blocks) in enumerate(products.blocks.items()):
        means = [(block / products.rows[name]).astype(np.float32) for block in blocks]
        if not all(np.isfinite(block).all() for block in means):
            raise Refusal("data", f"the activations before {name} are not finite; the model cannot be measured")
        written[name] = f"{number}.npz"
        np.savez(folder / written[name], *means)
    return {name: written[first] for name, first in products.same.items()}
