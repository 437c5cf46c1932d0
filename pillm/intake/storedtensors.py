"""Where the tensors of safetensors files lie, for whoever reads or counts them: only the headers are opened."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pillm.errors import DataError
from pillm.intake.faults import Fault
from pillm.intake.tensorfile import BITS, read_tensors


class StoredTensor(NamedTuple):
    """A tensor in a file: its type as safetensors names it (BF16, F16, F32, ...), and its bytes [start, end) in the file."""

    dtype: str
    shape: tuple[int, ...]
    path: Path
    start: int
    end: int

    @property
    def weights(self) -> int:
        """Return how many numbers it has."""
        return (self.end - self.start) * 8 // BITS[self.dtype]


def stored_tensors(place: Path) -> dict[str, StoredTensor]:
    """Return the tensors of a safetensors file, or of all in a folder, by name.

    Raises DataError, naming the file, where safetensors' own library would not read it.
    """
    found: dict[str, StoredTensor] = {}
    for path in sorted(place.glob("*.safetensors")) if place.is_dir() else [place]:
        found |= _of(path)
    return found


def _of(path: Path) -> dict[str, StoredTensor]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            tensors = read_tensors(file, size)
            begin = file.tell()  # the data follow the header
    except (OSError, Fault) as error:
        raise DataError(f"{path} is no readable safetensors file: {error}. Save or copy it again.") from error
    return {name: StoredTensor(one.dtype, one.shape, path, begin + one.start, begin + one.end) for name, one in tensors.items()}
