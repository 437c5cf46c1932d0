"""The options of generation, which the teacher and the runner share."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

import pillm
from pillm_hf.answering.choosing import Load, Sampling
from pillm_hf.fields import DEVICE_MAP, DTYPE, NOT_IN_KEY
from pillm_hf.models.precision import DType, require_device
from pillm_hf.models.quantizing import LoadIn, require_bitsandbytes

_KV_MEMORY = (
    "MiB that the key-value cache may take; where they hold fewer rows, fewer are answered at once. Half of the free memory "
    "where absent."
)


class Generation(pillm.Backend):
    """How a transformers model is held and how it answers; mixed into the backends that answer with one."""

    dtype: DType = DTYPE
    load_in: LoadIn = Field("none", description="Hold the weights in 8 or 4 bit (needs bitsandbytes).")
    device_map: str | None = DEVICE_MAP
    batch_size: int | None = Field(
        None, ge=1, description="Rows answered at once; chosen by the model's size where absent.", json_schema_extra=NOT_IN_KEY
    )
    max_new_tokens: int = Field(256, ge=1, description="Longest answer, in tokens.")
    temperature: float = Field(0.0, ge=0, le=10, description="0 takes the most likely token; above, tokens are drawn.")
    top_p: float = Field(1.0, gt=0, le=1, description="Draw from the most likely tokens that together have this probability.")
    top_k: int = Field(0, ge=0, description="Draw from this many most likely tokens; 0 for all.")
    seed: int = Field(0, ge=0, description="Seed of the draws; each request has its own stream.")
    constrain: bool = Field(False, description="Hold answers to the row's JSON Schema while they are generated.")
    kv_memory: int | None = Field(None, ge=1, description=_KV_MEMORY, json_schema_extra=NOT_IN_KEY)

    def check(self) -> None:
        """Raise where there is no such GPU, or nothing to hold weights in 8 or 4 bit with."""
        require_device(self.device_map)
        require_bitsandbytes(self.load_in)

    def check_prompts(self, prompts: Sequence[pillm.Prompt]) -> None:
        """Raise ConfigError naming the first row whose schema `constrain` could not hold answers to; no model is opened."""
        if self.constrain:
            from pillm_hf.answering.grammars import check_schemas

            check_schemas(prompts)

    def load(self) -> Load:
        """Return how much is done at once."""
        return Load(self.batch_size, self.kv_memory)

    def sampling(self) -> Sampling:
        """Return how tokens are chosen."""
        names = [name for name in Sampling.__slots__ if name in type(self).model_fields]
        return Sampling(**{name: getattr(self, name) for name in names})
