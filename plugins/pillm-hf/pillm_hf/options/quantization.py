"""The option `quantization_aware`, which all trainers have."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class QuantizationAware(BaseModel):
    """The last part of a training with weights rounded as the quantisation that ships will hold them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["Q4_0", "IQ4_NL", "Q8_0"] = Field(description="The quantisation that will ship.")
    share: float = Field(0.5, gt=0, le=1, description="Share of the optimiser steps, the last ones.")
