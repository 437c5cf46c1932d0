"""A cache of a teacher's distributions on disk: for each row, what the teacher would have said at each place of the answer.

The file is `magic, rows, index, header, sha256 of the header, length of the header`: rows are written as they come, and what is
cut off or changed is noticed before a number is read (the header holds the index's hash, the index each row's checksum). At
k = 32 and 151,936 ids it takes 105 bytes a token and 36 a row; 50 draws take about 30 a token from a teacher that is seldom in
doubt. What the 8 bits of a log-probability cost is told in `codes`.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import pillm
from pillm_hf.distilling.targets import Layout, Targets, Vocabulary, from_bytes, to_bytes
from pillm_hf.options.distillation import OTHER_TOKENIZER

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = 1
_MAGIC = b"pillm-KD"
_ENTRY = [("id", "<u8"), ("tokens", "<u8"), ("offset", "<u8"), ("bytes", "<u4"), ("positions", "<u4"), ("checksum", "<u4")]
_ENTRY_BYTES = 36
_TAIL = 40  # sha256 and length of the header
_AGAIN = "Make the cache again, or train without it."


class TargetWriter:
    """Writes a cache row by row; it appears under its name when the context ends without an error, whole and on disk."""

    def __init__(self, path: Path, vocabulary: Vocabulary, *, k: int, draws: int = 0) -> None:
        self.path, self.vocabulary, self.layout = path, vocabulary, Layout(vocabulary.size, k, draws)
        self._part = path.with_name(f".{path.name}.part")
        self._index: list[tuple[int, int, int, int, int, int]] = []
        self._width = 0
        self._file: BinaryIO

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open("wb")
        self._file.write(_MAGIC)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with self._file:
                if kind is None:
                    self._finish()
            if kind is None:
                self._part.replace(self.path)
                pillm.fsync_folder(self.path.parent)
        finally:
            self._part.unlink(missing_ok=True)

    def add(self, row: str, token_ids: Sequence[int], targets: Targets) -> None:
        """Write the distributions at the first positions of an answer, given by its row's id and all its learnt tokens.

        Raises DataError where they are of another layout, or more than the tokens.
        """
        if len(targets) > len(token_ids):
            raise pillm.DataError(f"row {row}: {len(targets)} distributions for {len(token_ids)} tokens. Make them anew.")
        data, place = to_bytes(targets, self.layout), self._file.tell()
        self._file.write(data)
        self._width = max(self._width, targets.width)
        self._index.append((_row_hash(row), _token_hash(token_ids), place, len(data), len(targets), zlib.crc32(data)))

    def _finish(self) -> None:
        import numpy as np

        place = self._file.tell()
        index = np.sort(np.array(self._index, dtype=_ENTRY), order=["id", "tokens"]).tobytes()
        header = {
            "version": VERSION, "tokenizer": self.vocabulary.tokenizer_hash, "vocabulary": self.vocabulary.size,
            "k": self.layout.k, "draws": self.layout.draws, "width": self._width, "rows": len(self._index), "index": place,
            "index_sha256": hashlib.sha256(index).hexdigest(),
        }  # fmt: skip
        text = json.dumps(header, sort_keys=True).encode()
        self._file.write(index + text + hashlib.sha256(text).digest() + len(text).to_bytes(8, "little"))
        self._file.flush()
        os.fsync(self._file.fileno())


class TargetCache:
    """Reads a cache where it lies; raises DataError where it is damaged, or made for another tokenizer or vocabulary."""

    def __init__(self, path: Path, vocabulary: Vocabulary) -> None:
        import numpy as np

        self.path = path
        try:
            self._data = np.memmap(path, np.uint8, "r")
            header = _header(self._data)
            index = self._data[header["index"] : header["index"] + header["rows"] * _ENTRY_BYTES].tobytes()
            if hashlib.sha256(index).hexdigest() != header["index_sha256"]:
                raise ValueError("its index has another hash")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise pillm.DataError(f"{path} is damaged or no cache of a teacher ({error}). {_AGAIN}") from error
        if header["tokenizer"] != vocabulary.tokenizer_hash:
            raise pillm.DataError(f"{path} was made with another tokenizer than the student's. {OTHER_TOKENIZER}")
        if header["vocabulary"] != vocabulary.size:
            said = f"{path} was made for {header['vocabulary']} ids, and the student has {vocabulary.size}."
            raise pillm.DataError(f"{said} {_AGAIN}")
        self.layout, self._width = Layout(header["vocabulary"], header["k"], header["draws"]), header["width"]
        self._index = np.frombuffer(index, dtype=_ENTRY)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def positions(self) -> int:
        """Return for how many tokens there are distributions."""
        return int(self._index["positions"].sum())

    @property
    def bytes_per_token(self) -> float:
        """Return the size of the file by the tokens it covers, everything included."""
        return float(len(self._data)) / max(1, self.positions)

    def get(self, row: str, token_ids: Sequence[int]) -> Targets | None:
        """Return the distributions at the first positions of a row's learnt tokens, or None where the row was left out.

        Raises DataError where the cache holds them for other tokens, or where they are damaged.
        """
        import numpy as np

        hashed, wanted = _row_hash(row), _token_hash(token_ids)
        first, end = np.searchsorted(self._index["id"], np.array([hashed, hashed + 1], np.uint64))
        for entry in self._index[first:end]:
            if int(entry["tokens"]) == wanted:
                return self._read(row, entry)
        if first == end:
            return None
        raise pillm.DataError(
            f"row {row}: its answer has other tokens than the teacher's distributions in {self.path} were made for. {_AGAIN}"
        )

    def _read(self, row: str, entry: Any) -> Targets:
        place = int(entry["offset"])
        data = self._data[place : place + int(entry["bytes"])].tobytes()
        if zlib.crc32(data) != entry["checksum"]:
            raise pillm.DataError(f"row {row}: its distributions in {self.path} are damaged. {_AGAIN}")
        return from_bytes(data, int(entry["positions"]), self.layout, self._width)


def _header(data: Any) -> dict[str, Any]:
    """Return the header of a whole file; raise ValueError where its frame is damaged."""
    tail = data[-_TAIL:].tobytes()
    end = len(data) - _TAIL
    begin = end - int.from_bytes(tail[32:], "little")
    if data[: len(_MAGIC)].tobytes() != _MAGIC or not len(_MAGIC) <= begin < end:
        raise ValueError("it does not begin and end as one does")
    text = data[begin:end].tobytes()
    if hashlib.sha256(text).digest() != tail[:32]:
        raise ValueError("its header has another hash")
    header: dict[str, Any] = json.loads(text)
    if header["version"] != VERSION:
        raise ValueError(f"it is of version {header['version']}, this pillm reads {VERSION}")
    if header["index"] + header["rows"] * _ENTRY_BYTES != begin:
        raise ValueError("its index has another length")
    return header


def _row_hash(row: str) -> int:
    digest = hashlib.blake2b(row.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # there is a number after the largest one


def _token_hash(token_ids: Sequence[int]) -> int:
    return int.from_bytes(hashlib.blake2b(repr(list(token_ids)).encode(), digest_size=8).digest(), "little")
