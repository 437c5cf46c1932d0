"""Rows of Parquet files, where pyarrow is installed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pillm


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise pillm.MissingDependency(
            "the data set is in Parquet, which pyarrow reads: pip install './plugins/pillm-hf[parquet]' "
            "(or choose a JSON lines or CSV file with file=)"
        ) from error
    return pyarrow


def count_parquet(path: Path | None) -> int:
    """Return how many rows a file has; without one only look whether it could be read. Raises DataError, MissingDependency."""
    arrow = _pyarrow()
    try:
        return int(arrow.parquet.read_metadata(path).num_rows) if path else 0
    except (arrow.ArrowException, OSError) as error:
        raise _broken(path, error) from error


def read_parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, row) of a file, a batch at a time; raise DataError where it is broken or holds bytes."""
    arrow = _pyarrow()
    number = 0
    try:
        with arrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=512):
                for row in batch.to_pylist():
                    where = f"{path.name}:row {number}"
                    yield where, {name: _plain(value, f"{where}: {name}") for name, value in row.items()}
                    number += 1
    except (arrow.ArrowException, OSError) as error:
        raise _broken(path, error) from error


def _broken(path: Path | None, error: Exception) -> pillm.DataError:
    return pillm.DataError(f"{path.name if path else ''}: no Parquet that can be read ({error}). Choose another with file=.")


def _plain(value: Any, where: str) -> Any:
    """Return a value as JSON has it; dates become text, bytes are refused."""
    if isinstance(value, dict):
        return {str(key): _plain(item, where) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, where) for item in value]
    if isinstance(value, bytes):
        raise pillm.DataError(f"{where} holds bytes, perhaps an image; only texts and numbers can become prompts.")
    return str(value) if isinstance(value, Decimal | date | time) else value
