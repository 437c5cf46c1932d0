"""The one pass: a few rows at a time are read, merged, turned and written into every file that was asked for."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pillm_llamacpp.converting.driver import FULL
from pillm_llamacpp.converting.hooks import Refused
from pillm_llamacpp.workers.refusal import Refusal
from pillm_llamacpp.writing import adapter, families, keys, shards, vocabulary
from pillm_llamacpp.writing.encoding import bytes_per_row, encode, narrowed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pillm_llamacpp.workers.pipe import Packet
    from pillm_llamacpp.writing.families import Part

AT_ONCE = 1 << 18
"""How many values go through together in one thread: what a processor's second cache holds of them as float32."""
LACKS = ("uncovered", "vocabulary")
"""Refusals after which another way is taken: the converter writes the file, or only its metadata."""
_ALIGNMENT = 32


def write(message: Packet, send: Callable[..., None]) -> None:
    """Write a model into each of `outputs` (path and type); send progress in bytes read, then that it is done."""
    try:
        with shards.Reader() as reader:
            _write(message, send, reader)
    except Refused as error:
        raise Refusal(error.kind, str(error)) from error
    except OSError as error:
        raise Refusal("storage" if error.errno in FULL else "backend", str(error)) from error
    except Refusal as error:
        if error.kind not in LACKS:
            raise
        send(lacks=error.kind, why=str(error))
    else:
        send(done=True)


def _write(message: Packet, send: Callable[..., None], reader: shards.Reader) -> None:
    gguf = keys.pinned(message["tree"])
    config = keys.config_of(Path(message["texts"]))
    family = families.family_of(config, keys_known=message["vocabulary"] is not None)
    held = shards.stored(Path(message["weights"]))
    plan = list(families.parts(gguf, family, config, held, vocabulary.words_of(Path(message["texts"])) if family.cut else None))
    pairs = _pairs(message["adapter"], plan)
    if message["alone"]:
        told = adapter.read(Path(message["adapter"]))
        plan = list(families.adapter_parts(plan, told.pairs))
        add_keys = partial(keys.add_adapter_keys, gguf=gguf, folder=told.folder, alpha=told.single_alpha(), job=message)
        pairs = {}
    else:
        add_keys = partial(keys.add_keys, gguf=gguf, family=family, config=config, job=message)
    outputs = [(Path(path), kind) for path, kind in message["outputs"]]
    with ExitStack() as stack:
        files = [stack.enter_context(file.opened()) for file in _files(gguf, family.arch, plan, outputs, add_keys)]
        total = sum(_read_of(part) for part in plan)
        chunks = _chunks(plan, pairs, reader)
        for done in _side_by_side(chunks, partial(_pass, reader=reader, files=files), message["threads"]):
            send(progress=done, total=total)


def _read_of(part: Part) -> int:
    """Return how many bytes of a tensor are read."""
    return part.source.nbytes * part.shape[0] // part.source.shape[0] if part.source else 0


def _pairs(folder: str | None, plan: Sequence[Part]) -> dict[str, adapter.Pair]:
    """Return what an adapter changes; raise Refusal where it was made for another base."""
    if folder is None:
        return {}
    pairs = adapter.read(Path(folder)).pairs
    adapter.require_fit(pairs, {part.source.name: part.source.shape for part in plan if part.source}, Path(folder))
    return pairs


class Chunk(NamedTuple):
    """Rows of one tensor that go through together."""

    number: int
    part: Part
    first: int
    rows: int
    merge: adapter.Merge | None


def _chunks(plan: Sequence[Part], merges: Mapping[str, adapter.Pair], reader: shards.Reader) -> Iterator[Chunk]:
    for number, part in enumerate(plan):
        name = part.source.name if part.source else ""
        merge = adapter.Merge.of(merges[name], reader) if name in merges else None
        rows = 1 if len(part.shape) == 1 else part.shape[0]
        # a head is turned as a whole
        step = rows // part.heads if part.heads and rows > 1 else 1
        count = max(1, AT_ONCE // (part.shape[-1] * step)) * step
        for first in range(0, rows, count):
            yield Chunk(number, part, first, min(count, rows - first), merge)


def _pass(chunk: Chunk, *, reader: shards.Reader, files: Sequence[File]) -> int:
    """Bring one chunk into every file; return how many bytes were read."""
    part = chunk.part
    if part.source is None:
        rows: np.ndarray[Any, Any] = np.atleast_2d(np.asarray(part.values))
        read = 0
    else:
        rows = reader.rows(part.source, chunk.first, chunk.rows)
        read = rows.nbytes
    if chunk.merge is not None and part.source is not None:
        # the sum is kept in the base's own precision, as in the folder that a trainer merges
        rows = narrowed(chunk.merge.apply(shards.widened(rows), chunk.first), part.source.dtype)
    if part.heads and len(part.shape) == 1:
        rows = families.turned(rows.T, part.heads).T
    elif part.heads:
        rows = families.turned(rows, len(rows) * part.heads // part.shape[0])
    if part.shift and part.source is not None:
        # the converter adds in the precision of the weights, but for BF16, which it has widened before
        rows = shards.widened(rows) + np.float32(part.shift)
        rows = narrowed(rows, "F16") if part.source.dtype == "F16" else rows
    for file in files:
        file.put(chunk, rows)
    return read


def _side_by_side(chunks: Iterator[Chunk], work: Callable[[Chunk], int], threads: int) -> Iterator[int]:
    """Yield the sum of what the chunks gave, after each; only so many are on their way as keep every thread busy."""
    waiting: deque[Future[int]] = deque()
    done = 0
    with ThreadPoolExecutor(threads) as pool:
        try:
            for chunk in chunks:
                waiting.append(pool.submit(work, chunk))
                if len(waiting) > threads + 1:
                    done += waiting.popleft().result()
                    yield done
            for future in waiting:
                done += future.result()
                yield done
        finally:
            for future in waiting:
                future.cancel()


@dataclass(frozen=True, slots=True)
class File:
    """A file whose header is written and whose tensors come in any order."""

    path: Path
    kinds: tuple[str, ...]
    """How each tensor is stored."""
    offsets: tuple[int, ...]
    size: int
    handle: int = -1

    def put(self, chunk: Chunk, rows: np.ndarray[Any, Any]) -> None:
        """Write rows of a tensor in their place."""
        kind = self.kinds[chunk.number]
        place = self.offsets[chunk.number] + chunk.first * bytes_per_row(kind, chunk.part.shape[-1])
        data = np.ascontiguousarray(encode(kind, rows)).data.cast("B")
        while data:
            wrote = os.pwrite(self.handle, data, place)
            data, place = data[wrote:], place + wrote

    @contextmanager
    def opened(self) -> Iterator[File]:
        """Open the file for its tensors."""
        handle = os.open(self.path, os.O_RDWR)
        try:
            # a disk without room says so now, and not after minutes of work
            os.posix_fallocate(handle, 0, self.size)
            yield replace(self, handle=handle)
        finally:
            os.close(handle)


def _files(
    gguf: Any, arch: str, plan: Sequence[Part], outputs: Sequence[tuple[Path, str]], metadata: Callable[[Any], None]
) -> Iterator[File]:
    """Yield each file with its header written; the metadata are made once."""
    kept: dict[str, Any] = {}
    for path, kind in outputs:
        writer = gguf.GGUFWriter(None, arch)
        stored = tuple(part.stored_as(kind) for part in plan)
        sizes = [_size(part, each) for part, each in zip(plan, stored, strict=True)]
        for part, each, size in zip(plan, stored, sizes, strict=True):
            writer.add_tensor_info(part.name, part.shape, np.dtype(np.float32), size, gguf.GGMLQuantizationType[each])
        if kept:
            writer.kv_data[0] = dict(kept)
        else:
            metadata(writer)
            kept = dict(writer.kv_data[0])
        if told := kept.get("general.file_type"):
            writer.kv_data[0]["general.file_type"] = replace(told, value=keys.FILE_TYPES[kind])
        writer.write_header_to_file(path)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        begin = _padded(writer.fout[0].tell())
        writer.close()
        offsets = []
        for size in sizes:
            offsets.append(begin)
            begin = _padded(begin + size)
        yield File(path, stored, tuple(offsets), begin)


def _size(part: Part, kind: str) -> int:
    rows = int(np.prod(part.shape[:-1]))
    return rows * bytes_per_row(kind, part.shape[-1])


def _padded(place: int) -> int:
    return -(-place // _ALIGNMENT) * _ALIGNMENT
