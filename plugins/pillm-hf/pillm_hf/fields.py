"""The options that backends of several kinds share, declared once."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from pydantic.config import JsonDict

NOT_IN_KEY: JsonDict = {"key": False}

REVISION: Any = Field(None, description="Branch, tag or commit of a hub id; the default branch where absent.")
DTYPE: Any = Field("auto", description="Number format to compute in; auto is bfloat16 where the hardware has it.")
DEVICE_MAP: Any = Field(None, description="Where to put the model: cpu, cuda, cuda:1, auto.", json_schema_extra=NOT_IN_KEY)
