"""What llama.cpp's quantiser is told, from a message; inside a worker."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llama_cpp.llama_cpp as llama

from pillm_llamacpp.quantizing import imatrix
from pillm_llamacpp.quantizing.tensortypes import header_of, numbers
from pillm_llamacpp.workers.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pillm_llamacpp.workers.pipe import Packet

HEAD, EMBEDDING = r"^output\.weight$", r"^token_embd\.weight$"
_INTEGER, _TEXT = 0, 3
_NOT_STORED = ("I8", "I16", "I32", "I64", "F64", "Q8_1", "Q8_K")
"""Types that no weight is quantised to: llama.cpp would abort."""


class Settings:
    """llama.cpp's quantisation parameters, and what they point to, which must live as long."""

    def __init__(self, message: Packet) -> None:
        """Read a message's ftype, threads, types, output_type, embedding_type, and imatrix: a file, or what it says of itself.

        Raises Refusal for a type that does not exist and a pattern that is none.
        """
        self.params = llama.llama_model_quantize_default_params()
        self.params.ftype = message["ftype"]
        self.params.nthread = message["threads"]
        self.keys: dict[str, int | str] = {"general.file_type": message["ftype"], "general.quantization_version": 2}
        self._alive: list[Any] = []
        self._weigh(message.get("imatrix"))
        self._override(_patterns(message))

    def _weigh(self, told: str | dict[str, int | str] | None) -> None:
        """Set the importance matrix; what one says of itself, without its data, changes the mix of types and the keys."""
        if told is None:
            return
        entries: list[tuple[bytes, Any]] = []
        if isinstance(told, str):
            found = imatrix.read(Path(told), own=True)
            entries = [(name.encode(), found.means(name)) for name in found.tensors]
            told = found.keys()
        self.keys |= told
        self._tell()
        array = (llama.llama_model_imatrix_data * (len(entries) + 1))()
        for place, (name, data) in enumerate(entries):
            pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            array[place] = llama.llama_model_imatrix_data(name, pointer, len(data))
        self._alive += [array, entries]
        self.params.imatrix = array

    def _tell(self) -> None:
        """Write into the file which importance matrix it was made with, by the keys that llama-quantize writes."""
        told = {key: value for key, value in self.keys.items() if key.startswith("quantize.")}
        array = (llama.llama_model_kv_override * (len(told) + 1))()
        for place, (key, value) in enumerate(told.items()):
            union: Any = array[place].value
            array[place].key = key.encode()
            if isinstance(value, int):
                array[place].tag, union.val_i64 = _INTEGER, value
            else:
                array[place].tag, union.val_str = _TEXT, value.encode()
        self._alive.append(array)
        self.params.kv_overrides = array

    def _override(self, patterns: Sequence[tuple[str, str]]) -> None:
        if not patterns:
            return
        array = (llama.llama_model_tensor_override * (len(patterns) + 1))()
        for place, (pattern, name) in enumerate(patterns):
            array[place] = llama.llama_model_tensor_override(pattern.encode(), _number(name))
        self._alive.append(array)
        self.params.tt_overrides = array


def _patterns(message: Packet) -> list[tuple[str, str]]:
    """Return the patterns and types in the order in which llama.cpp shall try them, the head and the embedding first.

    As patterns, and not by the quantiser's own parameters, a type that a row does not fit falls back as all others do.
    """
    head, embedding = message.get("output_type"), message.get("embedding_type")
    found = [(EMBEDDING, embedding)] if embedding else []
    if head:
        tied = all(tensor.name != "output.weight" for tensor in header_of(message["source"]).tensors)
        found.append((EMBEDDING if tied else HEAD, head))
    for pattern, name in message.get("types") or ():
        try:
            re.compile(pattern)
        except re.error as error:
            raise Refusal("config", f"{pattern!r} is no pattern for tensor names ({error})") from error
        found.append((pattern, name))
    return found


def _number(name: str) -> int:
    known = {other: number for other, number in numbers().items() if other not in _NOT_STORED}
    if name.upper() not in known:
        raise Refusal("config", f"{name!r} is no storage type of llama.cpp. Known: {', '.join(known)}")
    return known[name.upper()]
