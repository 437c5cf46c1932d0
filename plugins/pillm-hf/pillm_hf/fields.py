"""The options that several backends of this plugin share, declared once."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from pydantic.config import JsonDict

NOT_IN_KEY: JsonDict = {"key": False}

REVISION: Any = Field(None, description="Branch, tag or commit of a hub id; the default branch where absent.")
DTYPE: Any = Field("auto", description="Number format to compute in; auto is bfloat16 where the hardware has it.")
LOAD_IN: Any = Field("none", description="Hold the weights in 8 or 4 bit (needs bitsandbytes).")
DEVICE_MAP: Any = Field(None, description="Where to put the model: cpu, cuda, cuda:1, auto.", json_schema_extra=NOT_IN_KEY)
BATCH_SIZE: Any = Field(
    None, ge=1, description="Rows answered at once; chosen by the model's size where absent.", json_schema_extra=NOT_IN_KEY
)
MAX_NEW_TOKENS: Any = Field(256, ge=1, description="Longest answer, in tokens.")
TEMPERATURE: Any = Field(0.0, ge=0, le=10, description="0 takes the most likely token; above, tokens are drawn.")
TOP_P: Any = Field(1.0, gt=0, le=1, description="Draw from the most likely tokens that together have this probability.")
TOP_K: Any = Field(0, ge=0, description="Draw from this many most likely tokens; 0 for all.")
SEED: Any = Field(0, ge=0, description="Seed of the draws; each request has its own stream.")
