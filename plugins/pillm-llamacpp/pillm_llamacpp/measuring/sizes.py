"""What a quantisation will weigh, before it is made: llama.cpp's own choice of types, and arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import pillm
from pillm_llamacpp.quantizing.quantization import order
from pillm_llamacpp.workers.client import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from pillm_llamacpp.quantizing.imatrix import Imatrix


class TensorSize(NamedTuple):
    """One tensor as it would be stored."""

    name: str
    type: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """A file that was not made: its bytes, header and padding included, and its tensors in the source's order."""

    bytes: int
    tensors: tuple[TensorSize, ...]

    @property
    def types(self) -> dict[str, int]:
        """Return how many tensors would have each storage type."""
        names = [tensor.type for tensor in self.tensors]
        return {name: names.count(name) for name in sorted(set(names))}


class Sizer:
    """Sizes many candidates of one file; a worker stays open for them, so that each takes milliseconds."""

    def __init__(self, source: Path) -> None:
        """Start a worker; `source` is an F16, BF16 or F32 file."""
        self.source = source
        self._worker = Worker(f"the sizes of {source.name}")

    def size(
        self, quant: str, *, imatrix: Imatrix | bool | None = None, types: Mapping[str, str] | None = None,
        output_type: str | None = None, embedding_type: str | None = None,
    ) -> Sizes:  # fmt: skip
        """Return what `quantize` would write with the same arguments; `imatrix` may also only say that there will be one.

        Raises ConfigError for an unknown type or pattern, DataError where the source cannot be read.
        """
        keys = imatrix.keys() if imatrix is not None and not isinstance(imatrix, bool) else {} if imatrix else None
        told = order(self.source, quant, threads=1, types=types, output_type=output_type, embedding_type=embedding_type)
        found = self._worker.ask(**{**told, "op": "plan", "imatrix": keys})
        return Sizes(found["bytes"], tuple(TensorSize(*row) for row in found["tensors"]))

    def close(self) -> None:
        """End the worker."""
        self._worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def dry_size(
    source: Path, quant: str, *, imatrix: Imatrix | bool | None = None, types: Mapping[str, str] | None = None,
    output_type: str | None = None, embedding_type: str | None = None,
) -> Sizes:  # fmt: skip
    """Return what `quantize` would write with the same arguments; see `Sizer`, which is faster for more than one."""
    if not source.is_file():
        raise pillm.DataError(f"{source} is not a file.")
    with Sizer(source) as sizer:
        return sizer.size(quant, imatrix=imatrix, types=types, output_type=output_type, embedding_type=embedding_type)
