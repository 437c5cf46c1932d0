"""The published measurements and the shapes of the models that were measured.

`measurements.csv` holds facts collected by hand, each with its source: Pi 4B under llama.cpp b7095 (`pi4` is the clean
sweep, `pi4 again` a second clean run, `pi4 throttled` one whose prefill spread shows that the board was too hot), Pi 4 class
boards under Ollama, and Pi 5 under llama.cpp of 2026 and of 2024. Shapes are those of the models' own `config.json`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pillm.devices.shapes import ModelShape, from_config
from pillm.devices.speed import Load, load_of

MEASUREMENTS = Path(__file__).parent / "measurements.csv"


def config(
    type_: str, hidden: int, wide: int, layers: int, heads: tuple[int, int, int], vocabulary: int, **more: Any
) -> dict[str, Any]:
    """Return a `config.json` of so many heads, key heads and numbers per head; the embedding is not the head."""
    return {
        "model_type": type_, "hidden_size": hidden, "intermediate_size": wide, "num_hidden_layers": layers,
        "num_attention_heads": heads[0], "num_key_value_heads": heads[1], "head_dim": heads[2], "vocab_size": vocabulary,
        "tie_word_embeddings": False, **more,
    }  # fmt: skip


TIED = {"tie_word_embeddings": True}
MODELS = {
    "Llama-3.2-1B": config("llama", 2048, 8192, 16, (32, 8, 64), 128256, **TIED),
    "Llama-3.2-3B": config("llama", 3072, 8192, 28, (24, 8, 128), 128256, **TIED),
    "Qwen2.5-0.5B-Instruct": config("qwen2", 896, 4864, 24, (14, 2, 64), 151936),
    "Qwen2.5-1.5B-Instruct": config("qwen2", 1536, 8960, 28, (12, 2, 128), 151936),
    "Qwen3-0.6B": config("qwen3", 1024, 3072, 28, (16, 8, 128), 151936),
    "Gemma-3-270M-it": config("gemma3_text", 640, 2048, 18, (4, 1, 256), 262144, **TIED),
    "Gemma-3-1B-it": config("gemma3_text", 1152, 6912, 26, (4, 1, 256), 262144, **TIED),
    "Qwen2.5-0.5B": config("qwen2", 896, 4864, 24, (14, 2, 64), 151936, **TIED),
    "Qwen2.5-1.5B": config("qwen2", 1536, 8960, 28, (12, 2, 128), 151936, **TIED),
    "Qwen2.5-3B": config("qwen2", 2048, 11008, 36, (16, 2, 128), 151936, **TIED),
    "Qwen2.5-7B": config("qwen2", 3584, 18944, 28, (28, 4, 128), 152064),
    "Qwen1.5-1.8B": config("qwen2", 2048, 5504, 24, (16, 16, 128), 151936),
    "DeepSeek-R1-Distill-Qwen-1.5B": config("qwen2", 1536, 8960, 28, (12, 2, 128), 151936),
    "DeepSeek-R1-Distill-Qwen-7B": config("qwen2", 3584, 18944, 28, (28, 4, 128), 152064),
    "DeepSeek-R1-Distill-Llama-8B": config("llama", 4096, 14336, 32, (32, 8, 128), 128256),
    "Phi-3-mini-3.8B": config("llama", 3072, 8192, 32, (32, 32, 96), 32064),
    "Phi-3.5-mini-instruct": config("llama", 3072, 8192, 32, (32, 32, 96), 32064),
    "Gemma-2B": config("gemma", 2048, 16384, 18, (8, 1, 256), 256000, **TIED),
    "Gemma-2-2B": config("gemma2", 2304, 9216, 26, (8, 4, 256), 256000, **TIED),
    "SmolLM2-1.7B-Instruct": config("llama", 2048, 8192, 24, (32, 32, 64), 49152),
    "Yi-Coder-1.5B": config("llama", 2048, 5504, 24, (16, 16, 128), 64000),
    "Yi-1.5-6B": config("llama", 4096, 11008, 32, (32, 4, 128), 64000),
    "stable-code-instruct-3b": config("llama", 2560, 6912, 32, (32, 32, 80), 50304),
}
"""Phi-3 and stable-code as their nearest relative: the same matrices."""
STORED_AS = {("pi4", "Qwen2.5-0.5B-Instruct", "Q4_K_M"): "Q4_K_S"}
"""The sweep's file of that name is, to the byte, as big as the one called Q4_K_S, and as fast."""
UNTIED_IN_2024 = ("Qwen2.5-1.5B", "Qwen2.5-3B")
"""Those files hold the head a second time: 1777 and 3397 million weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A published measurement; tokens per second, None where it was not published."""

    group: str
    model: str
    quant: str
    threads: int
    pp_tps: float | None
    tg_tps: float
    shape: ModelShape
    load: Load

    @property
    def few_bits(self) -> bool:
        """Return whether its type has less than 3.4 bits per weight: the cores unpack it slower than memory delivers."""
        return self.quant.startswith("IQ3")


@lru_cache(maxsize=1)
def measurements() -> tuple[Row, ...]:
    """Return every row."""
    with MEASUREMENTS.open(encoding="utf-8", newline="") as file:
        return tuple(_row(said) for said in csv.DictReader(file))


def rows_of(*groups: str) -> list[Row]:
    """Return the rows of some groups."""
    return [row for row in measurements() if row.group in groups]


def without(rows: Iterable[Row], model: str) -> list[Row]:
    """Return the rows of other models."""
    return [row for row in rows if row.model != model]


def _row(said: dict[str, str]) -> Row:
    group, model, quant = said["group"], said["model"], said["quant"]
    stored = STORED_AS.get((group.split()[0], model, quant), quant)
    wanted = MODELS[model]
    if group == "pi5 2024" and model in UNTIED_IN_2024:
        wanted = {**wanted, "tie_word_embeddings": False}
    shape = from_config(wanted, model).quantised(stored)
    return Row(
        group=group,
        model=model,
        quant=quant,
        threads=int(said["threads"]),
        pp_tps=float(said["pp_tps"]) if said["pp_tps"] and said["pp"] == "512" else None,
        tg_tps=float(said["tg_tps"]),
        shape=shape,
        load=load_of(shape),
    )
