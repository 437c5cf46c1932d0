"""Model files whose weights mean nothing, of the sizes that timing a device needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

_MOST = 1 << 20
_NORM = "F32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A Llama's shape: rows that divide by 256, tied embeddings unless a head of its own is asked for."""

    hidden: int
    wide: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int = 4096
    context: int = 2048
    tied: bool = True

    def matrices(self) -> dict[str, tuple[int, int]]:
        """Return each matrix by name with its rows and columns."""
        head = self.hidden // self.heads
        sides = {
            "attn_q": (self.hidden, self.hidden), "attn_k": (self.kv_heads * head, self.hidden),
            "attn_v": (self.kv_heads * head, self.hidden), "attn_output": (self.hidden, self.hidden),
            "ffn_gate": (self.wide, self.hidden), "ffn_up": (self.wide, self.hidden), "ffn_down": (self.hidden, self.wide),
        }  # fmt: skip
        found = {"token_embd.weight": (self.vocabulary, self.hidden)}
        if not self.tied:
            found["output.weight"] = (self.vocabulary, self.hidden)
        return found | {f"blk.{layer}.{part}.weight": side for layer in range(self.layers) for part, side in sides.items()}


MINUTE = Shape(hidden=256, wide=512, layers=4, heads=4, kv_heads=2, vocabulary=2048)
TINY = Shape(hidden=256, wide=768, layers=6, heads=4, kv_heads=2)
SMALL = Shape(hidden=512, wide=1536, layers=16, heads=8, kv_heads=2)
LARGE = Shape(hidden=1024, wide=3072, layers=20, heads=16, kv_heads=4)


def write_file(path: Path, shape: Shape, type_: str) -> Path:
    """Write a model of random weights in one storage type, such as Q4_0 or F16; only its speed is of use."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_file_type(int(gguf.LlamaFileType[f"MOSTLY_{type_}"]))
    _describe(writer, shape)
    stored = gguf.GGMLQuantizationType[type_]
    random = np.random.default_rng(0)
    for name, (rows, columns) in shape.matrices().items():
        writer.add_tensor(name, _random(random, rows, columns, stored), raw_dtype=stored)
    norms = [f"blk.{layer}.{part}_norm.weight" for layer in range(shape.layers) for part in ("attn", "ffn")]
    for name in ("output_norm.weight", *norms):
        writer.add_tensor(name, np.ones(shape.hidden, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _describe(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.wide)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(shape.hidden // shape.heads)
    writer.add_vocab_size(shape.vocabulary)
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]  # what a prompt is written with
    tokens = [*letters, *(f"<{number}>" for number in range(len(letters), shape.vocabulary))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([int(gguf.TokenType.NORMAL)] * shape.vocabulary)
    writer.add_token_merges(["< 1"])
    writer.add_eos_token_id(0)
    writer.add_bos_token_id(0)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")


def _random(random: np.random.Generator, rows: int, columns: int, stored: gguf.GGMLQuantizationType) -> Any:
    """Return a matrix as it is stored: one stretch of small numbers, quantised once and repeated."""
    rows_once = max(1, min(rows, _MOST // columns))
    once = random.standard_normal((rows_once, columns), np.float32) * 0.02
    packed = gguf.quants.quantize(once, stored)
    return np.ascontiguousarray(np.resize(packed, (rows, packed.shape[1])))
