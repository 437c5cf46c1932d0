"""The options of the trainers `lora`, `dora` and `qlora`: adapters on a frozen base."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from pillm_hf.models.precision import DType
from pillm_hf.options.finetuning import FineTuning
from pillm_hf.options.presets import PRESETS, Preset

_OF_4_BIT = ("quant_type", "double_quant", "compute_dtype")


class LoRAOptions(FineTuning):
    """How adapters are made, and how the base is held that they are learnt on."""

    preset: Preset | None = Field(None, description="A tested set of options for a GPU generation; options given beat it.")
    rank: int = Field(16, ge=1, le=1024, description="Rank of the adapters.")
    alpha: int = Field(32, ge=1, description="Adapters are scaled by alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the adapters.")
    target_modules: Literal["all-linear"] | list[str] = Field(
        "all-linear", description="Which layers get an adapter: all-linear, or a list of names such as q_proj,v_proj."
    )
    use_dora: bool = Field(False, description="Learn each weight's magnitude apart from its direction (DoRA).")
    load_in_4bit: bool = Field(False, description="Hold the frozen base in 4 bit (QLoRA; needs bitsandbytes).")
    quant_type: Literal["nf4", "fp4"] = Field("nf4", description="The 4-bit number format.")
    double_quant: bool = Field(True, description="Quantise the 4-bit blocks' scales too.")
    compute_dtype: DType = Field("auto", description="Number format that 4-bit weights are multiplied in; auto follows dtype.")

    @model_validator(mode="wrap")
    @classmethod
    def _settle(cls, given: Any, make: ModelWrapValidatorHandler[Self]) -> Self:
        """Put a preset's options under the ones that are given; refuse those of 4-bit weights where there are none."""
        if not isinstance(given, dict):
            return make(given)
        preset = PRESETS.get(str(given.get("preset")), {})
        # a dtype that is given says what to compute in too
        made = make({**_without(("compute_dtype",) if "dtype" in given else (), preset), **given})
        if made.load_in_4bit and made.quantization_aware:
            raise ValueError(
                "quantization_aware needs the base's own weights, and with load_in_4bit they are not there. "
                "Train with lora or dora, or leave it out"
            )
        if made.load_in_4bit:
            return made
        idle = [name for name in _OF_4_BIT if name in given and getattr(made, name) != cls.model_fields[name].default]
        if idle:
            raise ValueError(f"{', '.join(idle)} only counts with load_in_4bit=true. Leave it out, or hold the base in 4 bit")
        return make({**_without(_OF_4_BIT, preset), **given})

    @model_validator(mode="before")
    @classmethod
    def _read_names(cls, given: Any) -> Any:
        """Read "q_proj,v_proj" as a list of names, and the list that holds "all-linear" alone as that word."""
        names = given.get("target_modules") if isinstance(given, dict) else None
        if isinstance(names, str):
            names = [name.strip() for name in names.split(",") if name.strip()]
        if names is None:
            return given
        return {**given, "target_modules": "all-linear" if list(names) == ["all-linear"] else names}


def _without(names: tuple[str, ...], options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in names}
