"""llama.cpp's low-level interface, as much of it as is needed, with every return value looked at."""

from __future__ import annotations

import ctypes
import re
from collections import deque
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import llama_cpp.llama_cpp as llama
import numpy as np

from pillm_llamacpp.inference.processor import built_with_tiles
from pillm_llamacpp.workers.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

SPM = 1
_WARN, _CONT = 3, 5
_PAD = 256
_F32 = _OFF = 0
_BYTES = ctypes.POINTER(ctypes.c_uint8)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class Log:
    """What llama.cpp said last; a listener may read along."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=40)
        self.listener: Callable[[str], None] | None = None
        self._partial = ""
        self._level = 0
        # llama.cpp calls it for as long as the process lives
        self._callback = llama.llama_log_callback(self._write)
        llama.llama_log_set(self._callback, ctypes.c_void_p(0))

    def _write(self, level: int, text: bytes, _: object) -> None:
        self._level = self._level if level == _CONT else level
        self._partial += _ANSI.sub("", text.decode("utf-8", "replace"))
        *whole, self._partial = self._partial.split("\n")
        for line in whole:
            if line.strip() and (self._level >= _WARN or self.listener):
                self.lines.append(line.strip())
                if self.listener:
                    self.listener(line.strip())

    def reason(self) -> str:
        """Return the last thing llama.cpp complained about."""
        for line in self.lines:
            if "error" in line.lower() or "fail" in line.lower():
                return line
        return self.lines[-1] if self.lines else "it gave no reason"


@cache
def start() -> Log:
    """Start llama.cpp in this process, once, and return its log."""
    log = Log()
    llama.llama_backend_init()
    return log


class Model:
    """A model file that llama.cpp opened, with its vocabulary."""

    def __init__(self, path: str, log: Log, *, vocab_only: bool = False, gpu_layers: int = 0, mapped: bool = True) -> None:
        log.lines.clear()
        params = llama.llama_model_default_params()
        params.vocab_only = vocab_only
        params.n_gpu_layers = gpu_layers
        params.use_extra_bufts = not built_with_tiles()
        self.mapped = mapped
        params.load_mode = llama.LLAMA_LOAD_MODE_AUTO if mapped else llama.LLAMA_LOAD_MODE_NONE
        self.handle = llama.llama_model_load_from_file(path.encode(), params)
        if not self.handle:
            raise Refusal("data", f"llama.cpp cannot load {path}: {log.reason()}")
        self.vocab = llama.llama_model_get_vocab(self.handle)
        self.n_vocab: int = llama.llama_vocab_n_tokens(self.vocab)
        self._pieces: dict[int, bytes] = {}

    def meta(self, key: str) -> str | None:
        """Return a value of the file's metadata as text."""
        size = 256
        while True:
            buffer = ctypes.create_string_buffer(size)
            found = llama.llama_model_meta_val_str(self.handle, key.encode(), buffer, size)
            if found < 0:
                return None
            if found < size:
                return buffer.value.decode("utf-8", "replace")
            size = found + 1

    @cached_property
    def context(self) -> int:
        """Return the number of tokens that the model was trained to see."""
        return int(llama.llama_model_n_ctx_train(self.handle))

    @cached_property
    def kv_bytes(self) -> int:
        """Return the bytes of 16-bit KV cache per token, near enough to size the cache."""
        usual = llama.llama_model_n_embd(self.handle) // max(1, llama.llama_model_n_head(self.handle))
        attention = f"{self.meta('general.architecture')}.attention"
        width = sum(int(self.meta(f"{attention}.{side}_length") or usual) for side in ("key", "value"))
        kv_heads = max(1, llama.llama_model_n_head_kv(self.handle))
        return int(max(1, 2 * llama.llama_model_n_layer(self.handle) * kv_heads * width))

    @property
    def weight_bytes(self) -> int:
        """Return the size of the weights."""
        return int(llama.llama_model_size(self.handle))

    @cached_property
    def template(self) -> str | None:
        """Return the chat template that the file carries."""
        found = llama.llama_model_chat_template(self.handle, None)
        return found.decode("utf-8", "replace") if found else None

    @cached_property
    def ends(self) -> frozenset[int]:
        """Return the tokens that end a generation."""
        return frozenset(t for t in range(self.n_vocab) if llama.llama_vocab_is_eog(self.vocab, t))

    def special(self, kind: str) -> str | None:
        """Return the text of a special token (bos, eos, pad), as a chat template names it."""
        token = getattr(llama, f"llama_vocab_{kind}")(self.vocab)
        if token < 0:
            return None
        return str(llama.llama_vocab_get_text(self.vocab, token).decode("utf-8", "replace"))

    def tokenize(self, text: str, *, bos: bool = False) -> list[int]:
        """Return the token ids of a text in which special tokens are written out."""
        data = text.encode("utf-8")
        size = len(data) + 8
        while True:
            buffer = (llama.llama_token * size)()
            count = llama.llama_tokenize(self.vocab, data, len(data), buffer, size, bos, True)
            if count >= 0:
                return list(buffer[:count])
            size = -count

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token; control tokens have none."""
        if token not in self._pieces:
            self._pieces[token] = self._piece(token, special=False)
        return self._pieces[token]

    def shown(self, token: int) -> str:
        """Return a token for a person's eyes, control tokens included."""
        return self._piece(token, special=True).decode("utf-8", "replace")

    def _piece(self, token: int, *, special: bool) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            found = llama.llama_token_to_piece(self.vocab, token, buffer, size, 0, special)
            if found >= 0:
                return buffer.raw[:found]
            size = -found

    def text(self, ids: list[int]) -> str:
        """Return the text of generated tokens; characters that tokens split are put together again."""
        data = b"".join(self.piece(token) for token in ids)
        if llama.llama_vocab_type(self.vocab) == SPM and self.meta("tokenizer.ggml.add_space_prefix") != "false":
            data = data.removeprefix(b" ")
        return data.decode("utf-8", "replace")

    def close(self) -> None:
        """Free the model."""
        if self.handle:
            llama.llama_model_free(self.handle)
            self.handle = None


class Context:
    """A KV cache and the batch that is decoded into it."""

    def __init__(self, model: Model, log: Log, *, cells: int, sequences: int = 1, **options: Any) -> None:
        """Make room for `cells` tokens in each sequence; `options` are threads, batch, outputs, `embeddings` and `exact`.

        With `unified` the sequences share the cells. `watch` is a llama.cpp callback that sees each operation.
        """
        log.lines.clear()
        params = llama.llama_context_default_params()
        unified = options.get("unified", False)
        params.n_ctx = (1 if unified else sequences) * (-(-cells // _PAD) * _PAD)
        params.n_batch = params.n_ubatch = self.batch = min(options.get("batch") or 512, cells)
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = options["threads"]
        # one stretch of cache per sequence: 2 to 3 times faster than a shared one when several answer at once
        params.kv_unified = unified
        if watch := options.get("watch"):
            params.cb_eval = watch
        params.no_perf = True
        # layers with a window keep every token all the same: a prompt takes up the beginning of another one, and of that a
        # cache which had gone on could hold no more than its end
        params.swa_full = True
        if options.get("exact"):
            params.type_k = params.type_v = _F32
            params.flash_attn_type = _OFF
        params.embeddings = options.get("embeddings", False)
        if params.embeddings:
            params.pooling_type = options.get("pooling", 1)
            # its sums are of 16 bit, and what a text gets would depend on the texts beside it
            params.flash_attn_type = _OFF
        else:
            params.n_outputs_max = options.get("outputs", sequences)
        self.model = model
        self._log = log
        self.handle = llama.llama_init_from_model(model.handle, params)
        if not self.handle:
            raise Refusal("backend", f"llama.cpp cannot make a context of {cells} tokens: {log.reason()}")
        self.memory = llama.llama_get_memory(self.handle)
        self._logits_at: tuple[int | None, int] = (None, 0)
        self._logits = np.zeros((0, 0), np.float32)
        self._allocate()

    def _allocate(self) -> None:
        """Own the batch's arrays, so that numpy fills them without a call per token."""
        size = self.batch
        self.tokens = np.zeros(size, np.int32)
        self.positions = np.zeros(size, np.int32)
        self.owners = np.zeros(size, np.int32)
        self.outputs = np.zeros(size, np.int8)
        self._ones = np.ones(size, np.int32)
        pointer = ctypes.POINTER(ctypes.c_int32)
        base = self.owners.ctypes.data
        self._rows = (pointer * (size + 1))(*[ctypes.cast(base + 4 * i, pointer) for i in range(size)])
        self._struct = llama.llama_batch(
            0, self.tokens.ctypes.data_as(pointer), None, self.positions.ctypes.data_as(pointer),
            self._ones.ctypes.data_as(pointer), self._rows, self.outputs.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )  # fmt: skip

    def decode(self, count: int) -> None:
        """Decode the first `count` tokens of the batch's arrays."""
        self._struct.n_tokens = count
        status = llama.llama_decode(self.handle, self._struct)
        if status:
            raise Refusal("backend", f"llama.cpp could not decode (status {status}): {self._log.reason()}")

    def synchronize(self) -> None:
        """Wait until what was decoded is computed; a graphics processor works on after `decode` returns."""
        llama.llama_synchronize(self.handle)

    def logits(self, rows: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the logits of the batch's outputs as (rows, vocabulary); valid until the next decode."""
        found = llama.llama_get_logits(self.handle)
        place = (ctypes.cast(found, ctypes.c_void_p).value, rows)
        if place != self._logits_at:  # it is nearly always the same memory
            self._logits_at, self._logits = place, np.ctypeslib.as_array(found, (rows, self.model.n_vocab))
        return self._logits

    def keep(self, sequence: int, count: int) -> bool:
        """Forget a sequence after its first `count` tokens; False where the model cannot forget a part."""
        return bool(llama.llama_memory_seq_rm(self.memory, sequence, count, -1))

    def state(self, sequence: int) -> np.ndarray[Any, np.dtype[np.uint8]] | None:
        """Return a copy of all that a sequence holds; None where llama.cpp gives none."""
        size = llama.llama_state_seq_get_size(self.handle, sequence)
        found = np.empty(size, np.uint8)
        written = llama.llama_state_seq_get_data(self.handle, found.ctypes.data_as(_BYTES), size, sequence)
        return found[:written] if written else None

    def restore(self, sequence: int, state: np.ndarray[Any, np.dtype[np.uint8]]) -> bool:
        """Let a sequence hold what `state` returned; False, and the sequence is empty, where llama.cpp does not take it."""
        taken = llama.llama_state_seq_set_data(self.handle, state.ctypes.data_as(_BYTES), len(state), sequence)
        if taken != len(state):
            llama.llama_memory_seq_rm(self.memory, sequence, 0, -1)
            return False
        return True

    def clear(self) -> None:
        """Forget everything."""
        llama.llama_memory_clear(self.memory, True)

    def close(self) -> None:
        """Free the context."""
        if self.handle:
            llama.llama_free(self.handle)
            self.handle = None
